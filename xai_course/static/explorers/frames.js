// An explorer over frames: its controls choose the picture, its text alternative and what is said of it.
// Data: {src, alt, caption: one for each frame; labels: one list for each control}.
(() => {
  "use strict";
  const {$, mount, data, controls, maps} = window.sinb;
  mount('[data-explorer="frames"]', figure => {
    const {src, alt, caption, labels} = data(figure), image = $("img.s-frame", figure);
    src[0] = image.src;
    const read = Object.fromEntries(labels.map((axis, i) => ["axis-" + i, at => axis[at]]));
    const chosen = controls(figure, () => {
      const at = labels.reduce((index, axis, i) => index * axis.length + Number(chosen.get("axis-" + i)), 0);
      image.src = src[at];
      image.alt = alt[at];
      maps.say(figure, caption[at]);
    }, read);
  });
})();
