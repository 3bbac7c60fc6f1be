// The page: it asks the server for the open view, and again after each change of the view, of the instance or
// of a file.

import * as edits from "./edits.js";
import * as form from "./form.js";
import * as origins from "./origins.js";
import { forget, linesOf, markFresh, show } from "./fragments.js";
import { look, place, readAddress, writeAddress } from "./place.js";
import { Refused, ask, follow } from "./server.js";

const byId = (id) => document.getElementById(id);
const [file, list, fields, status, banner, filter] =
  ["file", "list", "form", "status", "banner", "filter"].map(byId);

let isAsking = false;
let wanted = null;
let shownVersion = -1;
let shownPlace = "";
let checked = "";
let isLost = false;
let isSure = true;  // false while another program could have taken the server's address

// Ask for the view. While an answer is pending, later wishes are combined into one question.
export async function refresh(options = {}) {
  wanted = { ...wanted, ...options };
  if (isAsking) return;
  isAsking = true;
  while (wanted && isSure) {
    const question = wanted;
    wanted = null;
    try {
      receive(await ask("/view", { place, edits: edits.all(), form: question.form, all: question.all }), question);
      say("");
    } catch (error) {
      sayLost(error);
    }
  }
  isAsking = false;
}

function say(text) {
  banner.textContent = text;
  banner.hidden = !text;
}

function sayLost(error) {
  status.textContent = "not connected";
  status.className = "problem";
  say(error instanceof Refused ? `This page is no longer valid: ${error.message}` : error.message);
  isLost = true;
}

// Ask the user whether the program that answers now may have the edits.
function askUser(accept) {
  say("Another program answers at this address. Continue only if you have started templater again. ");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Continue";
  button.addEventListener("click", accept);
  banner.append(button);
}

function receive(answer, question) {
  if (answer.file !== undefined) showFile(answer);
  if (answer.problem !== undefined) {
    status.textContent = answer.problem;
    status.className = "problem";
    if (answer.file === undefined) say(answer.problem);
    return;
  }
  shownVersion = answer.version;
  isLost = false;
  if (!wanted) {  // else the user has chosen another view since the question
    Object.assign(place, answer.place);
    writeAddress();
  }
  show(list, answer.list);
  show(byId("notes"), answer.notes);
  showChoices(answer.choices);
  showCurrent();
  byId("source").textContent = answer.source;
  document.title = `${place.file} – ${answer.source}`;
  status.className = answer.problems ? "problem" : "";
  status.textContent = answer.problems ? `${answer.problems} file${answer.problems > 1 ? "s" : ""} with problems` : "live";
  if (answer.form !== undefined) {
    edits.choose(answer.place.instance, answer.given);
    if (question.afresh) forget(fields);
    show(fields, answer.form);
    if (question.focus) byId(question.focus)?.focus();
  }
  showCount();
  filterList();
  check(answer);
}

function showFile(answer) {
  const view = JSON.stringify(answer.place ?? null);
  const before = view === shownPlace ? linesOf(file) : null;
  if (!show(file, answer.file)) return;
  shownPlace = view;
  markFresh(file, before);
  origins.prepare(file);
}

// Ask for the findings of check, which take longer than a view, once for each version and host.
async function check(answer) {
  if (answer.checked) {
    show(byId("finding-list"), answer.findings);
    return;
  }
  const wish = JSON.stringify([answer.version, place.host, place.beside]);
  if (wish === checked) return;
  checked = wish;
  try {
    await ask("/findings", { place, edits: {} });
  } catch {
    checked = "";
    return;
  }
  refresh();
}

function showChoices(choices) {
  for (const [name, values] of Object.entries(choices)) {
    fill(byId(name), values.map((value) => [value, named(name, value)]), place[name]);
  }
  const others = Object.entries(choices).flatMap(([name, values]) =>
    values.filter((value) => value !== place[name]).map((value) => [`${name}:${value}`, named(name, value), name]));
  fill(byId("beside"), [["", "nothing"], ...others], place.beside ?? "");
  byId("instance").disabled = choices.instance.length < 2;
}

const named = (name, value) => (name === "trigger" ? value.replaceAll(",", " then ") : value);

function fill(select, options, chosen) {
  const key = JSON.stringify(options);
  if (select.dataset.filled !== key) {
    select.dataset.filled = key;
    const groups = new Map();
    select.replaceChildren();
    for (const [value, text, group] of options) {
      if (group && !groups.has(group)) {
        groups.set(group, document.createElement("optgroup"));
        groups.get(group).label = group;
        select.append(groups.get(group));
      }
      (groups.get(group) ?? select).append(new Option(text, value));
    }
  }
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

function showCurrent() {
  const links = [...list.querySelectorAll("a")];
  for (const link of links) link.tabIndex = link.getAttribute("aria-current") ? 0 : -1;
  if (!links.some((link) => link.tabIndex === 0) && links[0]) links[0].tabIndex = 0;
}

function showCount() {
  const count = edits.count();
  byId("edited").textContent = count ? `${count} edit${count > 1 ? "s" : ""}` : "";
  byId("reset").hidden = !count;
}

function showLook() {
  document.body.classList.toggle("words", look.words);
  document.body.classList.toggle("no-template", !look.template);
  byId("words").checked = look.words;
  byId("template").checked = look.template;
}

function openFile(path) {
  place.file = path;
  writeAddress({ isNewEntry: true });
  return refresh();
}

function filterList() {
  const text = filter.value.trim().toLowerCase();
  for (const link of list.querySelectorAll("a")) {
    link.parentElement.hidden = !!text && !link.dataset.path.toLowerCase().includes(text);
  }
}

// events of the page

byId("side").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-path]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openFile(link.dataset.path).then(() => {
    if (matchMedia("(max-width: 50rem)").matches) file.scrollIntoView();
    if (!list.contains(link) && !list.contains(document.activeElement)) byId("open")?.focus();
  });
});

list.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const links = [...list.querySelectorAll("li:not([hidden]) > a")];
  links[links.indexOf(document.activeElement) + step]?.focus();
});

filter.addEventListener("input", filterList);
filter.addEventListener("keydown", (event) => {
  if (event.key === "Enter") list.querySelector("li:not([hidden]) > a")?.click();
  if (event.key === "ArrowDown") list.querySelector("li:not([hidden]) > a")?.focus();
  if (event.key === "Escape") {
    filter.value = "";
    filterList();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input:not([type=checkbox]), textarea")) return;
  event.preventDefault();
  filter.focus();
});

byId("place").addEventListener("submit", (event) => event.preventDefault());
byId("place").addEventListener("change", ({ target }) => {
  if (target.dataset.place === undefined) {
    look.words = byId("words").checked;
    look.template = byId("template").checked;
    showLook();
    writeAddress();
    return;
  }
  place[target.dataset.place] = target.value;
  writeAddress({ isNewEntry: true });
  refresh({ form: true });
});

byId("reset").addEventListener("click", () => {
  edits.discard();
  refresh({ form: true, afresh: true });
});

file.addEventListener("click", ({ target }) => {
  if (target.closest("[data-all]")) refresh({ all: true });
});

form.follow(fields, (isStructural, focus) => {
  showCount();
  refresh(isStructural ? { form: true, focus } : {});
});
origins.follow(file);

addEventListener("hashchange", () => {
  readAddress();
  showLook();
  refresh({ form: true });
});
addEventListener("popstate", () => {
  readAddress();
  showLook();
  refresh({ form: true });
});

readAddress();
showLook();
refresh({ form: true }).then(() => follow({
  changed(version) {
    isSure = true;
    if (version !== shownVersion || isLost || wanted) refresh({ form: true });
  },
  opening() {
    isSure = false;
  },
  lost() {
    isSure = false;
    isLost = true;
    status.textContent = "connecting";
    status.className = "waiting";
    ask("/view", { place: {}, edits: {} }).catch(sayLost);
  },
  foreign: askUser,
}));
