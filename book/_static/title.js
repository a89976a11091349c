// The title page: take the tag away, and see what the network says then.
window.sinb.mount(".s-stage", stage => {
  const {$, $$, say, data} = window.sinb;
  const says = data(stage), button = $("[role=switch]", stage);
  const show = off => {
    const now = says[off ? "off" : "on"];
    stage.dataset.tag = document.documentElement.dataset.tag = off ? "off" : "on";
    button.setAttribute("aria-checked", off);
    $(".a", stage).textContent = now.answer;
    $(".a", stage).classList.toggle("is-false", off);
    $(".s-note", stage).textContent = now.note;
    $$(".s-odds > div", stage).forEach((row, i) => {
      const [name, percent] = now.odds[i];
      row.classList.toggle("is-top", name === now.answer);
      row.children[0].textContent = name;
      row.children[1].style.setProperty("--p", percent);
      row.children[2].textContent = Math.round(percent) + " %";
    });
    return now;
  };
  button.addEventListener("click", () => {
    const now = show(stage.dataset.tag !== "off");
    say(`The network now says ${now.answer}. ${now.note}`);
  });
});
