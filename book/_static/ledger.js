// The ledger's filters: which chapter, which kind of claim, which verdict. Without scripts every claim is shown.
(() => {
  "use strict";
  const {$, $$, make} = window.sinb;
  const tools = $("#ledger-tools");
  // A table with the section that it stands in, and of each row what it can be filtered by.
  const parts = $$("table.ledger").map(table => {
    const section = table.closest("section");
    const chapter = section.querySelector("h2").textContent.match(/\d+/)[0];
    return {section, chapter, rows: $$("tbody tr", table).map(row => ({
      row, chapter, kind: row.cells[1].textContent.trim(), verdict: $(".s-verdict", row).textContent.trim().slice(2),
    }))};
  });
  const rows = parts.flatMap(part => part.rows);
  if (!tools || !rows.length) return;
  const chosen = {chapter: "all", kind: "all", verdict: "all"}, told = make("p", {});
  told.setAttribute("role", "status");
  const show = () => {
    rows.forEach(each => { each.row.hidden = Object.keys(chosen).some(key => chosen[key] !== "all" && chosen[key] !== each[key]); });
    parts.forEach(part => { part.section.hidden = part.rows.every(each => each.row.hidden); });
    const left = rows.filter(each => !each.row.hidden).length;
    told.textContent = left === rows.length ? "All " + left + " claims are shown." : left + " of " + rows.length + " claims are shown.";
  };
  const row = (key, name, values) => {
    const group = make("fieldset", {}, make("legend", {textContent: name}));
    const segments = make("div", {className: "s-seg"});
    ["all", ...values].forEach(value => {
      const input = make("input", {type: "radio", name: "ledger-" + key, value, checked: value === "all"});
      input.addEventListener("change", () => { chosen[key] = value; show(); });
      segments.append(make("label", {}, input, make("span", {textContent: value})));
    });
    group.append(segments);
    return group;
  };
  const found = (key, order) => order.filter(value => rows.some(each => each[key] === value));
  tools.append(
    row("chapter", "Chapter", [...new Set(rows.map(each => each.chapter))]),
    row("kind", "Kind", found("kind", ["identity", "law", "ordering", "number"])),
    row("verdict", "Verdict", found("verdict", ["holds", "holds in part", "does not hold here"])),
    told,
  );
  show();
})();
