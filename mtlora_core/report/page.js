"use strict";
(() => {
  const root = document.documentElement;

  // Dark or light: as the system has it, until somebody chooses.
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  system.addEventListener("change", tell);
  tell();

  // A click on a heading sorts by its column; what is not known stays at the end.
  const valueOf = (row, index) => {
    const { dataset, textContent } = row.cells[index];
    if (dataset.value !== undefined) return Number(dataset.value);
    return textContent === "–" ? null : textContent;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  };
  const sort = (table, index, first) => {
    const heads = [...table.tHead.rows[0].cells];
    const second = first === "ascending" ? "descending" : "ascending";
    const order = heads[index].getAttribute("aria-sort") === first ? second : first;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[index].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, index), row]);
    rows.sort(([a], [b]) => (a === null) - (b === null) || sign * compare(a, b));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const own = document.createElement("button");
      own.type = "button";
      own.append(...head.childNodes);
      own.addEventListener("click", () =>
        sort(table, index, index && head.matches(".number") ? "descending" : "ascending"));
      head.append(own);
    });
  }
})();
