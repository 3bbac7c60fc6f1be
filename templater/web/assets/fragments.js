// HTML of the server in the page. The server escapes every text; nothing else in the page becomes HTML.

const policy = window.trustedTypes?.createPolicy("templater", { createHTML: (text) => text });
const shown = new WeakMap();

// Show HTML in an element, and return whether it has changed. The focus and scroll positions stay.
export function show(element, html) {
  if (shown.get(element) === html) return false;
  shown.set(element, html);
  const focus = placeOfFocus(element);
  const scrolled = [...element.querySelectorAll(".code")].map((code) => [code.scrollLeft, code.scrollTop]);
  element.innerHTML = policy ? policy.createHTML(html) : html;
  element.querySelectorAll(".code").forEach((code, number) => {
    if (scrolled[number]) [code.scrollLeft, code.scrollTop] = scrolled[number];
  });
  restore(element, focus);
  return true;
}

export function forget(element) {
  shown.delete(element);
}

function placeOfFocus(element) {
  const active = document.activeElement;
  if (!element.contains(active)) return null;
  const focus = { id: active.id, path: active.dataset?.path, selection: null };
  const values = [...element.querySelectorAll(".v")];
  focus.value = values.indexOf(active);
  if ("selectionStart" in active) focus.selection = [active.selectionStart, active.selectionEnd];
  return focus;
}

function restore(element, focus) {
  if (!focus) return;
  const found = (focus.id && document.getElementById(focus.id)) ||
    (focus.path !== undefined && [...element.querySelectorAll("[data-path]")].find((each) => each.dataset.path === focus.path)) ||
    element.querySelectorAll(".v")[focus.value];
  if (!found || !element.contains(found)) return;
  found.focus({ preventScroll: true });
  if (focus.selection?.[0] !== null && focus.selection && found.setSelectionRange) {
    found.setSelectionRange(...focus.selection);
  }
}

// Mark the lines of code that were not in the element before.
export function markFresh(element, before) {
  if (!before) return;
  for (const line of element.querySelectorAll(".results .l")) {
    if (!before.has(line.textContent)) line.classList.add("fresh");
  }
}

export const linesOf = (element) =>
  new Set([...element.querySelectorAll(".results .l")].map((line) => line.textContent));
