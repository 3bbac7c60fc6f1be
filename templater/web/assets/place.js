// The view: which instance, triggers, host and file are open. It is in the fragment of the address.
// The fragment never contains values of keys: those are only in the memory of this tab (see edits.js).

const FIELDS = ["instance", "trigger", "host", "beside", "file"];

export const place = {};
export const look = { words: false, template: true };

export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of FIELDS) {
    if (given.has(name)) place[name] = given.get(name);
    else delete place[name];
  }
  look.words = given.get("words") === "1";
  look.template = given.get("template") !== "0";
}

export function writeAddress({ isNewEntry = false } = {}) {
  const kept = new URLSearchParams();
  for (const name of FIELDS) if (place[name]) kept.set(name, place[name]);
  if (look.words) kept.set("words", "1");
  if (!look.template) kept.set("template", "0");
  const address = `#${kept}`;
  if (address === location.hash) return;
  if (isNewEntry) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}
