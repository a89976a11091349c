// A logistic regression in the plane, fitted again without each training point, beside what influence predicts.
// Data: points (n, 2), labels (n), test (2), testLabel, reach.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb;
  const SIDE = 300, NAMES = ["circle", "square"];

  const lifted = ([x, y]) => [x, y, 1];
  const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const sigmoid = s => 1 / (1 + Math.exp(-s));
  const softplus = s => Math.max(s, 0) + Math.log1p(Math.exp(-Math.abs(s)));
  const loss = (theta, point, label) => softplus((1 - 2 * label) * dot(theta, lifted(point)));

  // The solution of A x = b for three unknowns; A is symmetric and positive.
  const solve = (A, b) => {
    const M = A.map((row, i) => [...row, b[i]]);
    for (let i = 0; i < 3; i++) for (let r = i + 1; r < 3; r++) {
      const f = M[r][i] / M[i][i];
      for (let c = i; c < 4; c++) M[r][c] -= f * M[i][c];
    }
    const x = [0, 0, 0];
    for (let i = 2; i >= 0; i--) x[i] = (M[i][3] - dot(M[i].slice(i + 1, 3), x.slice(i + 1))) / M[i][i];
    return x;
  };

  // Slope and curvature of sum(weights · loss) + l2/2 |theta|².
  const shape = (theta, points, labels, weights, l2) => {
    const slope = theta.map(v => l2 * v), H = [0, 1, 2].map(i => [0, 1, 2].map(j => (i === j ? l2 : 0)));
    points.forEach((point, k) => {
      const z = lifted(point), p = sigmoid(dot(theta, z));
      for (let i = 0; i < 3; i++) {
        slope[i] += weights[k] * (p - labels[k]) * z[i];
        for (let j = 0; j < 3; j++) H[i][j] += weights[k] * p * (1 - p) * z[i] * z[j];
      }
    });
    return {slope, H};
  };

  // The minimum, by Newton's method with halved steps.
  const fitted = (points, labels, weights, l2) => {
    let theta = [0, 0, 0], step = [0, 0, 0], before = Infinity;
    for (let round = 0; round < 100; round++) {
      const next = theta.map((v, i) => v - step[i]);
      const value = points.reduce((sum, point, k) => sum + weights[k] * loss(next, point, labels[k]), l2 / 2 * dot(next, next));
      if (value > before + 1e-15) { step = step.map(v => v / 2); continue; }
      theta = next;
      before = value;
      const {slope, H} = shape(theta, points, labels, weights, l2);
      if (Math.max(...slope.map(Math.abs)) < 1e-10) break;
      step = solve(H, slope);
    }
    return theta;
  };

  // The test point's loss, and for each point what taking it out does to it: predicted, and fitted again.
  const changes = (points, labels, keep, test, testLabel, l2) => {
    const n = keep.reduce((a, b) => a + b, 0), weights = keep.map(k => k / n);
    const theta = fitted(points, labels, weights, l2), {H} = shape(theta, points, labels, weights, l2);
    const at = lifted(test), slope = at.map(v => (sigmoid(dot(theta, at)) - testLabel) * v);
    const now = loss(theta, test, testLabel), found = {theta, loss: now, predicted: [], real: [], moved: [], refits: []};
    points.forEach((point, i) => {
      const z = lifted(point), push = weights[i] * (sigmoid(dot(theta, z)) - labels[i]);
      const move = solve(H, z.map(v => push * v));
      const refit = fitted(points, labels, weights.map((w, k) => (k === i ? 0 : w)), l2);
      found.predicted.push(dot(slope, move));
      found.real.push(loss(refit, test, testLabel) - now);
      found.moved.push(theta.map((v, k) => v + move[k]));
      found.refits.push(refit);
    });
    return found;
  };

  sinb.influence = {fitted, changes};

  sinb.mount('[data-explorer="influence"]', figure => {
    const {maps} = sinb, data = sinb.data(figure), {reach, test, testLabel} = data, count = data.points.length;
    const number = value => sinb.number(value, 3);
    const shot = $('[data-panel="plane"] .s-shot', figure), plane = $("svg", shot), marks = $$(".point", plane);
    const dots = $$(".dots circle", figure);
    let points, labels, keep, chosen = +$('[data-control="chosen"]', figure).value - 1;
    const begin = () => {
      points = data.points.map(p => [...p]);
      labels = [...data.labels];
      keep = labels.map(() => 1);
    };
    const place = ([x, y]) => [SIDE / 2 * (1 + x / reach), SIDE / 2 * (1 - y / reach)];

    const draw = (line, theta) => {
      const [a, b, c] = theta, size = Math.max(Math.hypot(a, b), 1e-9), far = 3 * reach / size;
      const middle = [-c * a / size ** 2, -c * b / size ** 2];
      const [[x1, y1], [x2, y2]] = [-1, 1].map(s => place([middle[0] - s * b * far, middle[1] + s * a * far]));
      Object.entries({x1, y1, x2, y2}).forEach(([name, value]) => line.setAttribute(name, value.toFixed(1)));
    };
    const glyph = (mark, label) => {
      mark.lastChild.remove();
      mark.insertAdjacentHTML("beforeend", label ? '<rect x="-6" y="-6" width="12" height="12"/>' : '<circle r="6.5"/>');
    };

    const show = () => {
      const l2 = 10 ** controls.get("decay"), found = changes(points, labels, keep, test, testLabel, l2);
      draw($(".now", plane), found.theta);
      draw($(".refit", plane), found.refits[chosen]);
      draw($(".moved", plane), found.moved[chosen]);
      marks.forEach((mark, i) => {
        const [x, y] = place(points[i]), old = mark.classList.contains("c1") ? 1 : 0;
        mark.setAttribute("transform", "translate(" + x.toFixed(1) + " " + y.toFixed(1) + ")");
        if (old !== labels[i]) { mark.classList.toggle("c0"); mark.classList.toggle("c1"); glyph(mark, labels[i]); }
        mark.classList.toggle("is-chosen", i === chosen);
        mark.classList.toggle("is-out", !keep[i]);
      });
      const top = Math.max(...[...found.predicted, ...found.real].map(Math.abs), 1e-6);
      dots.forEach((point, i) => {
        point.setAttribute("cx", (SIDE / 2 * (1 + 0.9 * found.predicted[i] / top)).toFixed(1));
        point.setAttribute("cy", (SIDE / 2 * (1 - 0.9 * found.real[i] / top)).toFixed(1));
        point.setAttribute("r", i === chosen ? 7 : 4);
        point.setAttribute("class", i === chosen ? "is-chosen" : "");
      });
      maps.title(figure, "scatter", null, "across the predicted, upwards the real change of the test point\u2019s loss, each from "
        + number(-top) + " to " + number(top) + "; on the line they are equal");
      const real = found.real[chosen], who = "Point " + (chosen + 1) + " of " + count + ", a " + NAMES[labels[chosen]];
      maps.say(figure, keep[chosen]
        ? who + ": without it the test point\u2019s loss goes from " + number(found.loss) + " to " + number(found.loss + real)
          + ", a change of " + number(real) + ". Predicted: " + number(found.predicted[chosen]) + "."
        : who + ", is out. The test point\u2019s loss is " + number(found.loss) + ".");
      Object.assign(figure.dataset, {loss: found.loss, real: found.real.join(" "), predicted: found.predicted.join(" ")});
    };
    const choose = i => { chosen = i; controls.set("chosen", i + 1); show(); };
    const acts = {
      chosen: value => { chosen = value - 1; },
      out: () => {
        const stays = labels.filter((label, i) => keep[i] && i !== chosen && label === labels[chosen]).length;
        if (!keep[chosen] || stays) keep[chosen] = 1 - keep[chosen];
      },
      turn: () => {
        const stays = labels.filter((label, i) => keep[i] && i !== chosen && label === labels[chosen]).length;
        if (stays) labels[chosen] = 1 - labels[chosen];
      },
      again: begin,
    };
    const controls = sinb.controls(figure, (name, value) => {
      if (acts[name]) acts[name](value);
      show();
    }, {chosen: value => value + " of " + count, decay: value => (10 ** value).toFixed(3)});

    const inside = v => Math.min(reach, Math.max(-reach, v));
    const at = event => {
      const box = plane.getBoundingClientRect();
      return [(2 * (event.clientX - box.left) / box.width - 1) * reach, (1 - 2 * (event.clientY - box.top) / box.height) * reach];
    };
    let held = false;
    shot.addEventListener("pointerdown", event => {
      const [x, y] = at(event), away = points.map(p => Math.hypot(p[0] - x, p[1] - y)), nearest = away.indexOf(Math.min(...away));
      if (away[nearest] > reach / 8) return;
      event.preventDefault();
      shot.focus();
      shot.setPointerCapture(event.pointerId);
      held = true;
      choose(nearest);
    });
    shot.addEventListener("pointermove", event => {
      if (!held) return;
      points[chosen] = at(event).map(inside);
      show();
    });
    ["pointerup", "pointercancel"].forEach(name => shot.addEventListener(name, () => { held = false; }));
    shot.addEventListener("keydown", event => {
      const step = {ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]}[event.key];
      const acted = step || event.key === "Delete" || event.key === "Backspace";
      if (!acted) return;
      event.preventDefault();
      if (step) points[chosen] = points[chosen].map((v, i) => inside(v + 0.2 * step[i]));
      else acts.out();
      show();
    });
    shot.tabIndex = 0;
    shot.classList.add("s-pad");
    shot.setAttribute("role", "application");
    shot.setAttribute("aria-label", "The plane. The arrow keys move the chosen point, Delete takes it out or puts it back.");
    begin();
    show();
  });
})();
