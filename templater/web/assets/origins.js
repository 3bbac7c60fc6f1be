// The origin of a value: shown when the pointer is over the value, or when the value has the focus.
// The tab key stops at one value of a file; the arrow keys move to the others.

const tip = document.getElementById("tip");
let described = null;

export function prepare(element) {
  hide();
  let isFirst = true;
  for (const value of element.querySelectorAll(".v[title]")) {
    value.dataset.origin = value.title;
    value.removeAttribute("title");
    value.tabIndex = isFirst ? 0 : -1;
    isFirst = false;
  }
}

function hide() {
  tip.hidden = true;
  described?.removeAttribute("aria-describedby");
  described = null;
}

function showFor(value) {
  hide();
  described = value;
  tip.textContent = value.dataset.origin;
  tip.className = value.className;
  tip.hidden = false;
  value.setAttribute("aria-describedby", "tip");
  const box = value.getBoundingClientRect();
  const width = tip.offsetWidth;
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
  tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
}

export function follow(element) {
  const valueOf = (event) => event.target.closest?.("[data-origin]");
  for (const name of ["pointerover", "focusin"]) {
    element.addEventListener(name, (event) => valueOf(event) && showFor(valueOf(event)));
  }
  for (const name of ["pointerout", "focusout"]) {
    element.addEventListener(name, (event) => {
      if (valueOf(event) === described && document.activeElement !== described) hide();
      else if (name === "focusout") hide();
    });
  }
  addEventListener("scroll", hide, { passive: true, capture: true });
  element.addEventListener("keydown", (event) => {
    const value = valueOf(event);
    if (event.key === "Escape") hide();
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!value || !step) return;
    event.preventDefault();
    const values = [...element.querySelectorAll("[data-origin]")];
    const next = values[values.indexOf(value) + step];
    if (!next) return;
    value.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    showFor(next);
  });
}
