// An explorer over frames: its controls choose the panels, and what is said of them.
// Data: html, caption: one for each frame (a picture's address is @ and its place in src; the first frame
// stands in the figure, with the pictures named in first); labels: one list for each control.
(() => {
  "use strict";
  const {$, $$, make, mount, data, controls, maps} = window.sinb;
  mount('[data-explorer="frames"]', figure => {
    const {first, src, html, caption, labels} = data(figure), grid = $(".s-grid", figure);
    $$("img", grid).forEach((image, i) => { src[first[i]] = image.getAttribute("src"); });
    html[0] = grid.outerHTML;

    // The panels take the contents of the frame: a panel's button stays, and keeps the focus.
    const show = at => {
      const next = make("div", {innerHTML: html[at].replace(/ src="@(\d+)"/g, (_, i) => ' decoding="sync" src="' + src[i] + '"')});
      const panels = $$(".s-panel", next);
      $$(".s-panel", grid).forEach((panel, i) => {
        const shot = $(".s-shot", panel), to = $(".s-shot", panels[i]);
        if (shot && to) {
          ["aria-label", "data-name"].forEach(name => shot.setAttribute(name, to.getAttribute(name)));
          shot.replaceChildren(...to.childNodes);
          to.replaceWith(shot);
        }
        panel.replaceChildren(...panels[i].childNodes);
      });
      maps.say(figure, caption[at]);
    };
    const read = Object.fromEntries(labels.map((axis, i) => ["axis-" + i, at => axis[at]]));
    const chosen = controls(figure, () => show(
      labels.reduce((index, axis, i) => index * axis.length + Number(chosen.get("axis-" + i)), 0)), read);
  });
})();
