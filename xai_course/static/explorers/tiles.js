// The tile game: eight tiles, a rule that gives each picture of them a probability, LIME's line and Shapley values.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb;

  // A picture of d tiles is a whole number: bit j says whether tile j is shown.
  const bits = (picture, d) => Array.from({length: d}, (_, j) => (picture >> j) & 1);
  const size = picture => { let n = 0; for (; picture; picture &= picture - 1) n++; return n; };

  // The solution of A x = b by elimination; A is symmetric and positive.
  const solve = (A, b) => {
    const d = b.length, M = A.map((row, i) => [...row, b[i]]);
    for (let i = 0; i < d; i++) {
      let best = i;
      for (let r = i + 1; r < d; r++) if (Math.abs(M[r][i]) > Math.abs(M[best][i])) best = r;
      [M[i], M[best]] = [M[best], M[i]];
      for (let r = i + 1; r < d; r++) {
        const f = M[r][i] / M[i][i];
        for (let c = i; c <= d; c++) M[r][c] -= f * M[i][c];
      }
    }
    const x = new Array(d).fill(0);
    for (let i = d - 1; i >= 0; i--) {
      let sum = M[i][d];
      for (let c = i + 1; c < d; c++) sum -= M[i][c] * x[c];
      x[i] = sum / M[i][i];
    }
    return x;
  };

  // LIME's weighted ridge on some pictures and their probabilities: coefficients, intercept and R².
  const lime = (pictures, scores, d, alpha, width) => {
    const Z = pictures.map(picture => bits(picture, d));
    const weights = pictures.map(picture => Math.exp(-((1 - Math.sqrt(size(picture) / d)) ** 2) / (2 * width ** 2)));
    const all = weights.reduce((a, b) => a + b), mean = values => values.reduce((sum, v, i) => sum + weights[i] * v, 0) / all;
    const meanZ = Array.from({length: d}, (_, j) => mean(Z.map(z => z[j]))), meanY = mean(scores);
    const centred = Z.map(z => z.map((v, j) => v - meanZ[j])), y = scores.map(v => v - meanY);
    const gram = meanZ.map((_, j) => meanZ.map((_, k) => centred.reduce((sum, z, i) => sum + weights[i] * z[j] * z[k], 0)));
    // A tile that never changes has no coefficient.
    gram.forEach((row, j) => { row[j] += alpha + (row[j] === 0 ? 1 : 0); });
    const right = meanZ.map((_, j) => centred.reduce((sum, z, i) => sum + weights[i] * z[j] * y[i], 0));
    const coefficients = solve(gram, right);
    const intercept = meanY - coefficients.reduce((sum, c, j) => sum + c * meanZ[j], 0);
    const missed = mean(centred.map((z, i) => (y[i] - z.reduce((sum, v, j) => sum + v * coefficients[j], 0)) ** 2));
    const spread = mean(y.map(v => v * v)), varies = spread > (16 * 2.2e-16 * meanY) ** 2;
    return {coefficients, intercept, r2: varies ? 1 - missed / spread : 1};
  };

  const factorial = n => (n < 2 ? 1 : n * factorial(n - 1));

  // Shapley values from the probabilities of all 2^d pictures: what a tile adds, averaged as the definition says.
  const shapley = (table, d) => Array.from({length: d}, (_, j) => {
    let value = 0;
    for (let S = 0; S < 1 << d; S++) {
      if ((S >> j) & 1) continue;
      const k = size(S);
      value += factorial(k) * factorial(d - k - 1) / factorial(d) * (table[S | (1 << j)] - table[S]);
    }
    return value;
  });

  // The mean probability with both tiles of a pair shown, only the first, only the second, none: over all
  // pictures of the other tiles, each size of which counts as in Shapley's interaction index.
  const pair = (table, d, i, j) => {
    const means = [0, 0, 0, 0], a = 1 << i, b = 1 << j;
    for (let S = 0; S < 1 << d; S++) {
      if (S & (a | b)) continue;
      const k = size(S), weight = factorial(k) * factorial(d - k - 2) / factorial(d - 1);
      [S | a | b, S | a, S | b, S].forEach((T, n) => { means[n] += weight * table[T]; });
    }
    return means;
  };

  sinb.tiles = {lime, shapley, pair};

  sinb.mount('[data-explorer="tiles"]', figure => {
    const {maps, number} = sinb, data = sinb.data(figure), {d, alpha, width, names, tables} = data;
    const board = $('[data-panel="board"]', figure), buttons = $$("button", board);
    const every = tables[0].map((_, picture) => picture), [one, other] = data.pair;
    let shown = every.length - 1, mine = [shown];

    const paint = (slot, values) => $$('[data-panel="' + slot + '"] .s-tile', figure).forEach((tile, j) => {
      const [r, g, b] = maps.colour(values[j], {top: data.top, signed: true});
      tile.style.setProperty("--tile", "rgb(" + [r, g, b].join(" ") + ")");
      tile.classList.toggle("is-deep", 0.299 * r + 0.587 * g + 0.114 * b < 128);
      $("b", tile).textContent = number(values[j]);
    });

    const show = () => {
      const table = tables[+controls.get("rule")], pictures = controls.get("pictures") === "all" ? every : mine;
      const fit = lime(pictures, pictures.map(picture => table[picture]), d, alpha * pictures.length, width);
      const values = shapley(table, d), means = pair(table, d, one, other);
      const interaction = means[0] - means[1] - means[2] + means[3], p = table[shown];
      buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(Boolean((shown >> j) & 1))));
      maps.title(figure, "board", "Your picture: p = " + number(p), size(shown) + " of " + d + " tiles shown");
      const few = pictures.length <= d ? ", fewer than its " + (d + 1) + " unknowns" : "";
      maps.title(figure, "lime", null, "R\u00b2 = " + number(fit.r2) + ", fitted to " + pictures.length + (pictures.length > 1 ? " pictures" : " picture") + few);
      paint("lime", fit.coefficients);
      maps.title(figure, "shapley", null, "from all " + every.length + " pictures; their sum is " + number(table[every.length - 1] - table[0]));
      paint("shapley", values);
      $$("td", figure).forEach((cell, i) => { cell.textContent = number([...means, interaction][i]); });
      maps.say(figure, "Rule \u201c" + names[+controls.get("rule")] + "\u201d: your picture has p = " + number(p) +
        ". Tiles " + one + " and " + other + ": LIME " + number(fit.coefficients[one]) + " and " + number(fit.coefficients[other]) +
        " (R\u00b2 " + number(fit.r2) + "), Shapley " + number(values[one]) + " and " + number(values[other]) +
        ", interaction " + number(interaction) + ".");
      $$('[data-control="pictures"] span', figure)[1].textContent = "the " + mine.length + " that you have shown";
    };
    const put = picture => {
      shown = picture;
      if (!mine.includes(picture)) mine.push(picture);
      show();
    };
    const acts = {
      whole: () => put(every.length - 1),
      none: () => put(0),
      random: () => {
        const left = sinb.shuffled(every.length, Math.random).filter(picture => !mine.includes(picture)).slice(0, 10);
        mine.push(...left);
        put(mine[mine.length - 1]);
      },
      forget: () => { mine = [shown]; show(); },
    };
    const controls = sinb.controls(figure, name => (acts[name] || show)());
    buttons.forEach((button, j) => {
      button.disabled = false;
      button.addEventListener("click", () => put(shown ^ (1 << j)));
    });
    show();
  });
})();
