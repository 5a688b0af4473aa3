
"use strict";
// A click on a head sorts its table: least first, greatest first, as it was. Cells without a figure stay at the end.
for (const table of document.querySelectorAll("table")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const compare = (at, down) => (a, b) => {
    const [x, y] = [a.cells[at], b.cells[at]];
    const [p, q] = [x.dataset.key, y.dataset.key];
    if (p === undefined && q === undefined) {
      return (down ? -1 : 1) * x.textContent.localeCompare(y.textContent, "en", { numeric: true });
    }
    if (p === undefined || q === undefined) {
      return p === undefined ? 1 : -1;
    }
    return (down ? -1 : 1) * (Number(p) - Number(q));
  };
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const sorted = rows.slice();
      if (next) {
        head.setAttribute("aria-sort", next);
        sorted.sort(compare(at, next === "descending"));
      }
      body.append(...sorted);
    });
  });
}
