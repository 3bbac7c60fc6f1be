// The form of the instance. changed(isStructural) is called after each edit; the server then makes the form
// again if its fields have changed.

import * as edits from "./edits.js";

// Return the id of a field, as the function place_of of instance_form.py does.
const placeOf = (...names) => names.map(encodeURIComponent).join(":");

function grow(field) {
  field.rows = Math.min(field.value.split("\n").length, 12);
}

export function follow(form, changed) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (target.dataset.key !== undefined) {
      edits.setKey(target.dataset.profile, target.dataset.key, target.value);
      grow(target);
      changed(false);
    } else if (target.id === "name") {
      edits.setField("name", target.value);
      changed(false);
    }
  });
  form.addEventListener("change", ({ target }) => {
    if (target.id === "type") {
      edits.setField("type", target.value);
      changed(true);
    } else if (target.dataset.apply !== undefined) {
      edits.applyProfile(target.dataset.apply, target.checked);
      changed(true);
    }
  });
  form.addEventListener("click", ({ target }) => {
    if (target.dataset.raise !== undefined) {
      edits.raiseProfile(target.dataset.raise);
      changed(true);
    } else if (target.dataset.addFor !== undefined) {
      add(document.getElementById(target.dataset.addFor));
    }
  });
  form.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.key !== "Enter" || target.tagName !== "INPUT") return;
    event.preventDefault();
    add(target);
  });

  function add(field) {
    const name = field?.value.trim();
    if (!name) return;
    if (field.dataset.addProfile !== undefined) {
      edits.addProfile(name);
      changed(true, placeOf("apply", name));
    } else if (field.dataset.add !== undefined) {
      const place = placeOf("key", field.dataset.add, name);
      edits.setKey(field.dataset.add, name, document.getElementById(place)?.value ?? "");
      changed(true, place);
    } else return;
    field.value = "";
  }
}
