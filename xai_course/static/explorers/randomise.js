// Layers drawn at random: the map that the controls ask for, and how alike the maps of all methods stay.
// Data: names, layers, kinds, what, sources, maps [method][order][step] (places in sources),
// alike (kinds, methods, 2, steps), sure [order][step], box and low of the chart.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb;

  // Which layers are random, in words.
  const where = (layers, order, step) => {
    if (step === 0) return "all layers as trained";
    if (order === "independent" || step === 1) return "only " + layers[step - 1] + " random";
    return layers[0] + " to " + layers[step - 1] + " random";
  };

  sinb.randomise = {where};

  sinb.mount('[data-explorer="randomise"]', figure => {
    const {maps, number} = sinb, data = sinb.data(figure), {names, layers, kinds, box, low, what} = data, steps = layers.length + 1;
    const alike = sinb.array(data.alike).values, chart = $('[data-panel="curve"] svg', figure);
    const before = $('[data-panel="before"] img', figure), after = $('[data-panel="after"] img', figure);
    const line = $(".line", chart), dot = $(".dot", chart), thin = $$(".guide", chart).slice(1); // the first is zero
    const orders = ["cascade", "independent"];

    const curve = (kind, map, order) => {
      const from = ((kind * names.length + map) * 2 + order) * steps;
      return Array.from(alike.slice(from, from + steps));
    };
    const at = (k, value) => [
      box.left + (box.right - box.left) * k / (steps - 1),
      box.bottom - (box.bottom - box.top) * (Math.min(1, Math.max(low, value)) - low) / (1 - low),
    ];
    const points = values => values.map((value, k) => at(k, value).map(v => v.toFixed(1)).join(",")).join(" ");

    const put = (image, source, says) => {
      if (image.src !== source) image.src = source;
      image.alt = says;
    };
    const show = () => {
      const map = +controls.get("map"), kind = +controls.get("kind"), step = controls.get("layer");
      const order = controls.get("order"), o = orders.indexOf(order), name = names[map], text = where(layers, order, step);
      const mine = curve(kind, map, o), sure = "p(" + what + ") = " + number(data.sure[o][step], 3);
      put(before, data.sources[data.maps[map][o][0]], "The map of the trained network by " + name);
      put(after, data.sources[data.maps[map][o][step]], "The map by " + name + ", " + text);
      maps.title(figure, "before", name + ", as trained");
      maps.title(figure, "after", text, sure);
      names.forEach((_, i) => thin[i].setAttribute("points", points(curve(kind, i, o))));
      line.setAttribute("points", points(mine));
      const [x, y] = at(step, mine[step]);
      dot.setAttribute("cx", x.toFixed(1));
      dot.setAttribute("cy", y.toFixed(1));
      maps.say(figure, name + ", " + text + ": " + kinds[kind] + " " + number(mine[step]) + " with the map of the trained network. " + sure + ".");
    };
    const read = {layer: step => where(layers, $('[data-control="order"] input:checked', figure).value, step)};
    const controls = sinb.controls(figure, name => {
      if (name === "order") controls.set("layer", controls.get("layer")); // its text names the layers
      show();
    }, read);
    show();
  });
})();
