// Deletion and insertion: the page makes each picture from the order of a map; the network's scores came with it.
// Data: names, fills, what, steps, size [w, h], goes (maps, h, w), scores (2, maps, fills, steps + 1), picture,
// hidden (an address for each fill), box of the chart.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb;

  // The area under a curve over a way of length 1, by the trapezoid rule.
  const area = curve => curve.slice(1).reduce((sum, p, k) => sum + (p + curve[k]) / 2, 0) / (curve.length - 1);

  // The place of a map among all, 1 for the best: deletion's area is to be low, insertion's high.
  const place = (areas, which, how) => 1 + areas.filter(a => (how === "delete" ? a < areas[which] : a > areas[which])).length;

  // Which pixels of the picture are shown at a step: 255 or 0 for each.
  const shown = (goes, step, how) => Uint8Array.from(goes, turn => ((turn > step) === (how === "delete") ? 255 : 0));

  sinb.deletion = {area, place, shown};

  sinb.mount('[data-explorer="deletion"]', figure => {
    const {maps, number} = sinb, data = sinb.data(figure), {names, fills, steps, box, what} = data, [width, height] = data.size;
    const goes = sinb.array(data.goes).values.map(Math.round), scores = sinb.array(data.scores).values, pixels = width * height;
    const drawn = maps.canvas($('[data-panel="picture"] img', figure)), order = maps.canvas($('[data-panel="order"] img', figure));
    const chart = $('[data-panel="curve"] svg', figure), line = $(".line", chart), dot = $(".dot", chart), filled = $(".area", chart);
    const thin = $$(".guide", chart), rows = {area: $$('[data-row="area"] td', figure), place: $$('[data-row="place"] td', figure)};
    let painted = null;

    const load = address => { const image = new Image(); image.onload = () => show(); image.src = address; return image; };
    const curve = (how, map, fill) => {
      const from = (((how === "delete" ? 0 : 1) * names.length + map) * fills.length + fill) * (steps + 1);
      return Array.from(scores.slice(from, from + steps + 1));
    };
    const at = (k, p) => [box.left + (box.right - box.left) * k / steps, box.bottom - (box.bottom - box.top) * p];
    const points = values => values.map((p, k) => at(k, p).map(v => v.toFixed(1)).join(",")).join(" ");

    // The picture where it is shown, over the picture with everything hidden.
    const hole = document.createElement("canvas");
    const paint = (map, fill, step, how, says) => {
      if (!picture.complete || !hidden[fill].complete) return;
      for (const canvas of [drawn, hole]) { canvas.width = width; canvas.height = height; }
      const over = hole.getContext("2d"), mask = over.createImageData(width, height);
      shown(goes.slice(map * pixels, (map + 1) * pixels), step, how).forEach((alpha, i) => { mask.data[4 * i + 3] = alpha; });
      over.putImageData(mask, 0, 0);
      over.globalCompositeOperation = "source-in";
      over.drawImage(picture, 0, 0, width, height);
      const context = drawn.getContext("2d");
      context.drawImage(hidden[fill], 0, 0, width, height);
      context.drawImage(hole, 0, 0);
      drawn.setAttribute("aria-label", says);
    };

    const show = () => {
      const map = +controls.get("map"), fill = +controls.get("fill"), how = controls.get("how"), step = controls.get("step");
      const all = names.map((_, i) => curve(how, i, fill)), areas = all.map(area), p = all[map][step];
      const share = Math.round(100 * step / steps) + " %", best = place(areas, map, how);
      const done = how === "delete" ? "deleted, behind " + fills[fill] : "inserted, on " + fills[fill];
      paint(map, fill, step, how, "The picture " + (how === "delete" ? "without the " : "with only the ") + share + " of the pixels that " + names[map] + " ranks highest");
      if (painted !== map) {
        painted = map;
        const turn = Array.from(goes.slice(map * pixels, (map + 1) * pixels), k => 1 - (k - 1) / steps);
        maps.paint(order, turn, height, width, {}, "The order of " + names[map]);
        maps.title(figure, "order", "The order of " + names[map]);
      }
      maps.title(figure, "picture", null, "p(" + what + ") = " + number(p));
      const [x, y] = at(step, p);
      dot.setAttribute("cx", x.toFixed(1));
      dot.setAttribute("cy", y.toFixed(1));
      line.setAttribute("points", points(all[map]));
      filled.setAttribute("points", box.left + "," + box.bottom + " " + points(all[map]) + " " + box.right + "," + box.bottom);
      thin.forEach((guide, i) => guide.setAttribute("points", points(all[i])));
      rows.area.forEach((cell, i) => { cell.textContent = number(areas[i]); });
      rows.place.forEach((cell, i) => { cell.textContent = String(place(areas, i, how)); });
      for (const cells of [rows.area, rows.place]) cells.forEach((cell, i) => cell.classList.toggle("is-chosen", i === map));
      maps.say(figure, names[map] + ": " + share + " of the pixels " + done + ": p(" + what + ") = " + number(p) +
        ". Area under the curve: " + number(areas[map]) + ", place " + best + " of " + names.length + ".");
    };
    const controls = sinb.controls(figure, show, {step: k => Math.round(100 * k / steps) + " %"});
    const picture = load(data.picture), hidden = data.hidden.map(load);
    show();
  });
})();
