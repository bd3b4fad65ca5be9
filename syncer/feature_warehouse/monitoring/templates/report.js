"use strict";

// Columns are sorted by their buttons, numbers by what data-value says.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column]?.dataset.value ?? row.cells[column]?.textContent.trim() ?? "";
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => key(a).localeCompare(key(b), "en", { numeric: true }) || 0);
      if (head.classList.contains("n")) rows.sort((a, b) => parseFloat(key(a)) - parseFloat(key(b)) || 0);
      table.tBodies[0].append(...(down ? rows.reverse() : rows));
    });
  });
}

for (const input of document.querySelectorAll("input[data-filter]")) {
  const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = document.querySelector(`[data-count="${input.dataset.filter}"]`);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      if (!row.hidden) shown += 1;
    });
    count.textContent = `${shown} of ${rows.length}`;
  });
}

// The window's title and the marked part follow the address.
const title = document.title;
function follow() {
  const id = decodeURIComponent(location.hash.slice(1));
  const page = document.getElementById(id)?.closest(".page") ?? document.getElementById("overview");
  document.title = page.id === "overview" ? title : `${page.querySelector("h1").textContent.trim().split("\n")[0]} · ${title}`;
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.getAttribute("href") === `#${page.id}`);
    if (link.hasAttribute("aria-current")) link.setAttribute("aria-current", "page");
  }
  if (id) page.focus({ preventScroll: true });
}
addEventListener("hashchange", follow);
follow();
