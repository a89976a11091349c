// An explorer over frames: its sliders choose the picture, its text alternative and the caption.
// __DATA__: {src, alt, caption: one for each frame; labels: one list for each slider}.
(() => {
const root = document.currentScript.closest(".xw-frames"), data = __DATA__;
const image = root.querySelector("img"), caption = root.querySelector("figcaption");
const sliders = [...root.querySelectorAll("input[type=range]")];
data.src[0] = image.src;
const show = () => {
  let index = 0;
  sliders.forEach((slider, i) => {
    index = index * data.labels[i].length + Number(slider.value);
    const label = data.labels[i][slider.value];
    slider.setAttribute("aria-valuetext", label);
    slider.parentElement.querySelector("output").textContent = label;
  });
  image.src = data.src[index];
  image.alt = data.alt[index];
  caption.textContent = data.caption[index];
};
sliders.forEach(slider => {
  slider.addEventListener("input", show);
  // A notebook application would take the arrow keys for itself.
  slider.addEventListener("keydown", event => event.stopPropagation());
});
root.querySelector(".xw-controls").hidden = false;
show();
})();
