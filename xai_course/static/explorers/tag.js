// The tag: a picture with a tag that can be moved and taken away, and a network that answers in the page.
// Its weights are a script beside the book's pages (network.js, clever_hans.js), loaded at the first use.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb;

  // A picture, rows by columns by colours in [0, 1], with the tag's upper left pixel at a place.
  const stamp = (pixels, size, {brightness, opacity}, row, column) => {
    const stamped = pixels.slice();
    brightness.forEach((line, y) => line.forEach((light, x) => {
      for (let c = 0; c < 3; c++) {
        const i = ((row + y) * size + column + x) * 3 + c;
        stamped[i] += opacity[y][x] * (light - stamped[i]);
      }
    }));
    return stamped;
  };

  // The pixels of an image element, as stamp takes them.
  const pixels = image => {
    const canvas = document.createElement("canvas"), size = canvas.width = canvas.height = image.naturalWidth;
    const context = canvas.getContext("2d", {willReadFrequently: true, colorSpace: "srgb"});
    context.drawImage(image, 0, 0);
    const given = context.getImageData(0, 0, size, size).data, read = new Float32Array(size * size * 3);
    for (let i = 0; i < size * size; i++) for (let c = 0; c < 3; c++) read[3 * i + c] = given[4 * i + c] / 255;
    return read;
  };

  const draw = (canvas, values, size) => {
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d"), image = context.createImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * values[3 * i + c]);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  };

  // A map of what windows cost, each in the cell about its centre, so that heat lies where the window lay.
  const cells = (canvas, lost, size, {window: wide, stride}) => {
    const places = Math.floor((size - wide) / stride) + 1, edge = (wide - stride) / 2, whole = new Float32Array(size * size);
    for (let y = edge; y < size - edge; y++) {
      for (let x = edge; x < size - edge; x++) {
        whole[y * size + x] = Math.max(0, lost[Math.floor((y - edge) / stride) * places + Math.floor((x - edge) / stride)]);
      }
    }
    sinb.maps.paint(canvas, whole, size, size, {over: true});
  };

  // Where the network looks: its passes in slices, so that the page stays awake, for as long as alive() says yes;
  // then done(what each window costs the answer, the answer, seconds).
  const search = (network, values, {window: wide, stride, fill}, alive, done) => {
    const shares = network.softmax(network.logits(values)), best = shares.indexOf(Math.max(...shares));
    const steps = network.occlusion(values, best, wide, stride, fill), began = performance.now();
    const slice = () => {
      if (!alive()) return;
      const until = performance.now() + 14;
      let step = steps.next();
      while (!step.done && performance.now() < until) step = steps.next();
      if (step.done) done(step.value, best, (performance.now() - began) / 1000);
      else setTimeout(slice);
    };
    slice();
  };

  // Let a pointer or the arrow keys move the tag: place() tells where it is, move(row, column) puts it elsewhere.
  // A pointer holds it where it took it.
  const hold = (handle, frame, size, place, move) => {
    let held = null;
    const at = event => {
      const box = frame.getBoundingClientRect();
      return [(event.clientY - box.top) / box.height * size, (event.clientX - box.left) / box.width * size];
    };
    handle.addEventListener("pointerdown", event => {
      if (handle.disabled) return;
      const [y, x] = at(event), [row, column] = place();
      held = [y - row, x - column];
      handle.setPointerCapture(event.pointerId);
    });
    handle.addEventListener("pointermove", event => {
      if (!held) return;
      const [y, x] = at(event);
      move(y - held[0], x - held[1]);
    });
    ["pointerup", "pointercancel"].forEach(name => handle.addEventListener(name, () => { held = null; }));
    handle.addEventListener("keydown", event => {
      const step = event.shiftKey ? 10 : 2, by = {ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step]}[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const [row, column] = place();
      move(row + by[0], column + by[1]);
    });
    return at;
  };
  const put = (handle, size, row, column) => {
    handle.style.top = 100 * row / size + "%";
    handle.style.left = 100 * column / size + "%";
    handle.setAttribute("aria-label", "The tag, at row " + row + ", column " + column + ". Arrow keys move it.");
  };

  // Where the book keeps its files; a notebook application has none.
  const root = document.documentElement.dataset.content_root;
  const script = name => new Promise((done, failed) => {
    const element = Object.assign(document.createElement("script"), {src: root + "_static/" + name + ".js", onload: done, onerror: failed});
    document.head.append(element);
  });
  let files;
  // A network of one's own, once its files are there.
  const load = () => (files ||= root === undefined ? Promise.reject(new Error("no files beside this page"))
    : script("explorers/network").then(() => script("explorers/clever_hans"))).then(() => sinb.network(sinb.weights.clever_hans));

  sinb.tag = {stamp, pixels, draw, cells, search, hold, put, root, script, load};

  const article = name => "A " + name;

  sinb.mount('[data-explorer="tag"]', figure => {
    const {maps} = sinb, data = sinb.data(figure), odds = sinb.array(data.odds).values, lost = sinb.array(data.lost).values;
    const {names, classes, tag} = data, K = classes.length, handle = $(".s-tag", figure), frame = handle.parentElement;
    const thumbs = $$(".s-picks img", figure), pictures = [], size = 112, height = tag.brightness.length, width = tag.brightness[0].length;
    const places = Math.floor((size - data.window) / data.stride) + 1;
    const canvas = {picture: maps.canvas($(".picture", figure)), grey: maps.canvas($('[data-panel="map"] .is-grey', figure)), heat: maps.canvas($('[data-panel="map"] .heat', figure))};
    canvas.grey.removeAttribute("role");
    canvas.grey.setAttribute("aria-hidden", "true");
    let k = 0, on = true, [row, column] = data.home, net = null, asked = false, wanted = false, turn = 0, resting = null, failed = root === undefined;

    const composed = () => {
      pictures[k] ||= pixels(thumbs[k]);
      return on ? stamp(pictures[k], size, tag, row, column) : pictures[k];
    };
    const heat = values => cells(canvas.heat, values, size, data);
    // What Python computed, if the tag is where it had it: in its corner, or away.
    const known = () => (!on ? 2 * k : row === data.home[0] && column === data.home[1] ? 2 * k + 1 : null);
    const where = () => article(names[k]) + (on ? ", with the tag at row " + row + ", column " + column : ", without the tag");

    const answer = (shares, how) => {
      const best = shares.reduce((b, v, i) => (v > shares[b] ? i : b), 0);
      $(".s-big b", figure).textContent = classes[best];
      $(".s-big b", figure).classList.toggle("is-fooled", classes[best] !== names[k]);
      $(".s-truth", figure).textContent = (classes[best] === names[k] ? "\u2713 right: it is a " : "\u2717 wrong: it is a ") + names[k];
      maps.odds(figure, "answer", shares.map((share, i) => [classes[i], 100 * share]));
      return where() + ". The network says " + classes[best] + ", " + Math.round(100 * shares[best]) + " %. " + how;
    };
    const stale = note => {
      canvas.heat.classList.toggle("is-stale", note !== null);
      if (note !== null) maps.title(figure, "map", null, note);
    };

    const show = () => {
      turn++;
      clearTimeout(resting);
      const values = composed(), state = known();
      draw(canvas.picture, values, size);
      draw(canvas.grey, values, size);
      canvas.picture.setAttribute("aria-label", where());
      maps.title(figure, "picture", article(names[k]) + (on ? ", with the tag" : ", without the tag"), net || !failed ? "drag the tag" : "dragging it needs the book’s page");
      handle.hidden = !on;
      handle.disabled = $('[data-control="map"]', figure).disabled = failed;
      put(handle, size, row, column);
      let said, shares;
      if (net) {
        const start = performance.now(), logits = net.logits(values), took = Math.max(1, Math.round(performance.now() - start));
        shares = net.softmax(logits);
        said = answer(shares, "Computed here in " + took + " ms.");
      } else if (state !== null) {
        shares = Array.from(odds.slice(state * K, state * K + K));
        said = answer(shares, failed ? "Computed when the page was made; in the book it is live." : "Computed when the page was made.");
      } else {
        said = where() + ". The network is being loaded.";
      }
      if (state !== null) {
        heat(lost.slice(state * places ** 2, (state + 1) * places ** 2));
        canvas.heat.setAttribute("aria-label", "What hiding a place costs the answer");
        stale(null);
        maps.title(figure, "map", null, "computed when the page was made");
      } else {
        stale("of another picture: press the button");
        if (wanted && net) { stale("of another picture: computing"); resting = setTimeout(look, 300); }
      }
      // Dragged, the answer is seen at once, and read out when the tag rests.
      clearTimeout(show.saying);
      show.saying = setTimeout(() => maps.say(figure, said), 250);
    };

    // The map; a picture that changes meanwhile ends it.
    const look = () => {
      if (!net) return;
      const mine = ++turn;
      search(net, composed(), data, () => mine === turn, (costs, best, seconds) => {
        heat(costs);
        canvas.heat.setAttribute("aria-label", "What hiding a place costs the answer " + classes[best]);
        stale(null);
        maps.title(figure, "map", null, places ** 2 + " passes, computed here in " + seconds.toFixed(1) + " s");
      });
    };

    const need = () => {
      if (asked) return;
      asked = true;
      load().then(loaded => { net = loaded; show(); if (wanted) look(); }, () => {
        failed = true;
        [row, column] = data.home;
        show();
      });
    };
    const move = (y, x) => {
      if (failed) return;
      row = Math.max(0, Math.min(size - height, Math.round(y)));
      column = Math.max(0, Math.min(size - width, Math.round(x)));
      need();
      show();
    };

    const acts = {
      picture: value => { k = +value; show(); },
      off: value => { on = !value; show(); },
      home: () => { on = true; controls.set("off", false); [row, column] = data.home; show(); },
      map: () => { wanted = true; if (net) look(); },
    };
    const controls = sinb.controls(figure, (name, value) => { need(); acts[name](value); });

    const at = hold(handle, frame, size, () => [row, column], move);
    // A press beside the tag brings it there.
    canvas.picture.addEventListener("click", event => {
      const [y, x] = at(event);
      on = true;
      controls.set("off", false);
      move(y - height / 2, x - width / 2);
    });
    // A picture that is not decoded yet has no pixels.
    Promise.all(thumbs.map(image => image.decode())).then(show, show);
  });
})();
