// The user's edits of each instance, by the name that the instance has in its files.

const every = new Map();
let current = "";
let given = { name: "", type: "", config: {}, profiles: [] };

// Choose the instance whose edits the functions below read and change.
export function choose(instance, asItsFilesDescribeIt) {
  current = instance;
  given = asItsFilesDescribeIt;
  const edits = every.get(current);
  if (!edits?.profiles) return;
  const known = new Set(edits.profiles.map((profile) => profile.name));
  for (const { name } of given.profiles) if (!known.has(name)) edits.profiles.push({ name, on: true, config: {} });
}

export const all = () => Object.fromEntries(every);

export function discard() {
  every.delete(current);
}

function edited() {
  if (!every.has(current)) every.set(current, { config: {} });
  return every.get(current);
}

function profiles() {
  const edits = edited();
  edits.profiles ??= given.profiles.map(({ name }) => ({ name, on: true, config: {} }));
  return edits.profiles;
}

const profileOf = (name) => profiles().find((profile) => profile.name === name);
const givenConfig = (profile) =>
  (profile ? given.profiles.find(({ name }) => name === profile)?.config : given.config) ?? {};

export function setField(name, value) {
  if (value === given[name]) delete edited()[name];
  else edited()[name] = value;
}

// Set a key of the instance, or of a profile. An empty value removes the key, as in the daemons.
export function setKey(profile, key, value) {
  const config = profile ? profileOf(profile)?.config : edited().config;
  if (!config) return;
  const before = givenConfig(profile);
  if (Object.hasOwn(before, key) && before[key] === value) delete config[key];
  else config[key] = value;
}

export function applyProfile(name, isOn) {
  const profile = profileOf(name);
  if (profile) profile.on = isOn;
}

export function raiseProfile(name) {
  const list = profiles();
  const place = list.findIndex((profile) => profile.name === name);
  if (place > 0) list.splice(place - 1, 0, ...list.splice(place, 1));
}

export function addProfile(name) {
  if (!profileOf(name)) profiles().push({ name, on: true, config: {} });
}

// Return the number of edits of the chosen instance.
export function count() {
  const edits = every.get(current);
  if (!edits) return 0;
  const differing = (config, before) =>
    Object.entries(config).filter(([key, value]) => value !== (before[key] ?? "")).length;
  let found = differing(edits.config, given.config) + ("name" in edits) + ("type" in edits);
  for (const [place, profile] of (edits.profiles ?? []).entries()) {
    found += differing(profile.config, givenConfig(profile.name));
    found += !profile.on || given.profiles[place]?.name !== profile.name;
  }
  return found;
}
