// The title page: drag the tag, and the network answers in the page (explorers/tag.js).
window.sinb.mount("section.s-stage", stage => {
  const {$, $$, make, say, data, tag: tools, maps} = window.sinb;
  const home = data(stage).place, size = 112, hidden = {window: 28, stride: 12, fill: 0.5};
  const [shown, why] = $$(".s-shot", stage), title = $$(".s-name", stage)[1], before = title.textContent;
  const handle = make("button", {type: "button", className: "s-tag"}), overlays = [];
  let [row, column] = home, network = null, bare = null, turn = 0, resting, asked = false;

  const overlay = (shot, kind, alt) => {
    const canvas = make("canvas", {className: kind, hidden: true});
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", alt);
    shot.append(canvas);
    overlays.push(canvas);
    return canvas;
  };
  const picture = overlay(shown, "moved", "The star, with its tag elsewhere");
  const grey = overlay(why, "is-grey", "The same picture in grey"), heat = overlay(why, "heat", "What hiding a place costs the answer");
  shown.append(handle);

  // As the page was before the tag was moved; with its switch, the page itself says the rest.
  const reset = () => {
    turn++;
    clearTimeout(resting);
    [row, column] = home;
    overlays.forEach(canvas => { canvas.hidden = true; });
    title.textContent = before;
    handle.hidden = stage.dataset.tag === "off";
    tools.put(handle, size, row, column);
  };

  // The star, the class that is likeliest beside it, and all others.
  const bars = shares => {
    const star = network.labels.indexOf("star"), order = network.labels.map((_, k) => k).sort((a, b) => shares[b] - shares[a]);
    const other = order.find(k => k !== star), rest = 1 - shares[star] - shares[other];
    const rows = [["star", shares[star]], [network.labels[other], shares[other]], ["six others", rest]];
    $$(".s-odds > div", stage).forEach((bar, i) => {
      const [name, share] = rows[i];
      bar.classList.toggle("is-top", name === network.labels[order[0]]);
      bar.children[0].textContent = name;
      bar.children[1].style.setProperty("--p", 100 * share);
      bar.children[2].textContent = Math.round(100 * share) + " %";
    });
    return order[0];
  };

  const show = () => {
    const mine = ++turn;
    clearTimeout(resting);
    tools.put(handle, size, row, column);
    if (!network) return;
    const values = tools.stamp(bare, size, window.sinb.scene.tag, row, column), start = performance.now();
    const shares = network.softmax(network.logits(values)), took = Math.max(1, Math.round(performance.now() - start));
    const best = bars(shares), answer = network.labels[best], sure = Math.round(100 * shares[best]) + " %";
    tools.draw(picture, values, size);
    tools.draw(grey, values, size);
    picture.hidden = grey.hidden = false;
    heat.hidden = true;
    title.textContent = "Why? Occlusion\u2019s answer follows";
    $(".a", stage).textContent = answer;
    $(".a", stage).classList.toggle("is-false", answer !== "star");
    const note = "The tag is at row " + row + ", column " + column + " of " + size + ". The network says " + answer + ", " + sure + ". It runs in this page: " + took + " ms for a picture.";
    $(".s-note", stage).textContent = note;
    resting = setTimeout(() => {
      say(note);
      tools.search(network, values, hidden, () => mine === turn, costs => {
        tools.cells(heat, costs, size, hidden);
        heat.hidden = false;
        title.textContent = "Why? Occlusion\u2019s answer, from 64 passes";
      });
    }, 300);
  };

  const load = () => {
    if (asked) return;
    asked = true;
    const image = new Image();
    tools.script("title_scene").then(() => {
      image.src = window.sinb.scene.picture;
      return Promise.all([tools.load(), image.decode()]);
    }).then(([loaded]) => {
      bare = tools.pixels(image);
      network = loaded;
      if (row !== home[0] || column !== home[1]) show();
    }, () => { handle.hidden = true; });
  };
  tools.hold(handle, shown, size, () => [row, column], (y, x) => {
    row = Math.max(0, Math.min(size - 10, Math.round(y)));
    column = Math.max(0, Math.min(size - 30, Math.round(x)));
    load();
    show();
  });
  $("[role=switch]", stage).addEventListener("click", reset);
  reset();
});
