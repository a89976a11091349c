// The result: a dot for each condition, its two intervals, chance, and what others have published.
(() => {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const svg = (tag, attributes, text) => {
    const node = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const element = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };

  window.studyChart = (figure, study, found) => {
    const rating = study.task === "rating", [low, high] = rating ? [-2, 2] : [0, 1];
    const show = (value) => (rating ? `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}` : `${Math.round(100 * value)} %`);
    const between = (interval) => (interval && interval[0] !== null ? `${show(interval[0])} to ${show(interval[1])}` : "–");
    const published = study.published.filter((one) => one.condition);
    const narrow = figure.clientWidth < 560;
    const rows = Object.keys(study.names), step = narrow ? 84 : 64, left = narrow ? 4 : 210, right = narrow ? 12 : 90;
    const width = narrow ? 360 : 860, top = 14, height = top + rows.length * step + 44;
    const x = (value) => left + ((Math.min(Math.max(value, low), high) - low) / (high - low)) * (width - left - right);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "y-plot", "aria-hidden": "true" });

    for (const tick of rating ? [-2, -1, 0, 1, 2] : [0, 0.25, 0.5, 0.75, 1]) {
      drawing.append(svg("line", { x1: x(tick), x2: x(tick), y1: top, y2: height - 34, class: "grid" }));
      drawing.append(svg("text", { x: x(tick), y: height - 12, "text-anchor": "middle", class: "tick" }, rating ? show(tick).replace(".00", "") : show(tick)));
    }
    const middle = rating ? 0 : study.chance;
    drawing.append(svg("line", { x1: x(middle), x2: x(middle), y1: top - 8, y2: height - 34, class: "chance" }));
    rows.forEach((name, index) => {
      const one = found.conditions.find((condition) => condition.name === name), y = top + index * step + step * (narrow ? 0.68 : 0.5);
      drawing.append(svg("text", { x: narrow ? 0 : left - 18, y: narrow ? y - 22 : y + 5, "text-anchor": narrow ? "start" : "end", class: "name" }, study.names[name]));
      if (one) {
        const [a, b] = [one.both_interval, one.people_interval];
        if (a && a[0] !== null) drawing.append(svg("line", { x1: x(a[0]), x2: x(a[1]), y1: y, y2: y, class: "both" }));
        if (b && b[0] !== null) drawing.append(svg("line", { x1: x(b[0]), x2: x(b[1]), y1: y, y2: y, class: "people" }));
        drawing.append(svg("circle", { cx: x(one.value), cy: y, r: 8, class: "own" }));
        drawing.append(svg("text", { x: width - (narrow ? 0 : 4), y: narrow ? y - 22 : y + 6, "text-anchor": "end", class: "value" }, show(one.value)));
      }
      for (const other of published.filter((entry) => entry.condition === name)) {
        const at = x(other.value), up = y - 15;
        drawing.append(svg("path", { d: `M${at} ${up - 8}L${at + 8} ${up}L${at} ${up + 8}L${at - 8} ${up}Z`, class: "other" }));
      }
    });

    const heard = element("div", undefined, "s-sr"), table = element("table"), head = element("tr");
    for (const text of ["Condition", "Participants", "Answers", "Result", "Other people, these pictures", "Other people, other pictures", "Published"]) {
      const cell = element("th", text);
      cell.scope = "col";
      head.append(cell);
    }
    table.append(element("caption", "The result in numbers"), head);
    for (const name of rows) {
      const one = found.conditions.find((condition) => condition.name === name), row = element("tr");
      const theirs = published.filter((entry) => entry.condition === name).map((entry) => show(entry.value)).join(", ") || "–";
      const cells = one ? [one.people, one.answers, show(one.value), between(one.people_interval), between(one.both_interval)] : ["0", "0", "–", "–", "–"];
      const title = element("th", study.names[name]);
      title.scope = "row";
      row.append(title, ...[...cells, theirs].map((text) => element("td", String(text))));
      table.append(row);
    }

    heard.append(table);
    const caption = element("figcaption"), key = element("p", undefined, "y-key");
    for (const [mark, text] of [
      ["own", found.simulated ? "these raters" : "your class"], ["people", "95 %, other people and these pictures"],
      ["both", "95 %, other people and other pictures"], ["chance", rating ? "no preference" : "guessing"],
      ...(published.length ? [["other", "published"]] : []),
    ]) key.append(element("span", text, `is-${mark}`));
    caption.append(key);
    const notes = new Set(study.published.map((one) => `${one.condition ? "Published" : "Found elsewhere"}: ${one.source} (${one.note}).`));
    if (rating) notes.add("Above zero: more trust in the program that looks at the shape.");
    for (const note of notes) caption.append(element("p", note, "y-small"));
    const none = found.conditions.length ? [] : [element("p", "Nobody’s answers can be analysed yet.", "y-lead")];
    figure.replaceChildren(...none, drawing, heard, caption);
  };
})();
