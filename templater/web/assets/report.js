"use strict";
// The page is complete without this script, which adds a search field and a filter.
{
  const tools = document.getElementById("tools");
  const files = [...document.querySelectorAll("section.file")];
  const rows = new Map([...document.querySelectorAll("tr[data-for]")].map((row) => [row.dataset.for, row]));
  const texts = new Map();
  const make = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const search = make("input", { type: "search", id: "search", placeholder: "Search files and contents  ( / )" });
  const problems = make("input", { type: "checkbox", id: "problems" });
  const count = make("output", { id: "count" });
  const textOf = (file) => {
    if (!texts.has(file)) texts.set(file, file.textContent.toLowerCase());
    return texts.get(file);
  };
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const file of files) {
      const matches = (!wanted || textOf(file).includes(wanted)) &&
        (!problems.checked || file.classList.contains("problem"));
      file.hidden = !matches;
      const row = rows.get(file.id);
      if (row) row.hidden = !matches;
      shown += matches;
    }
    count.textContent = wanted || problems.checked ? `${shown} of ${files.length} files` : "";
  };
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 120);
  });
  problems.addEventListener("change", filter);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      filter();
    }
  });
  tools.append(
    make("label", { htmlFor: "search", className: "hidden" }, "Search files and contents"), search,
    make("label", {}, problems, " only problems"), count,
  );
  tools.hidden = false;
}
