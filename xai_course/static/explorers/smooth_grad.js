// SmoothGrad from stored gradients. Data: gradients (S, n, h, w), sigmas (S), chance (S) or null, of, range.
(() => {
  "use strict";
  const {$, mount, data, array, controls, number, random, shuffled, maps} = window.sinb;
  const norm = values => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
  const percentile = (values, percent) => {
    const sorted = Float64Array.from(values).sort(), at = (sorted.length - 1) * percent / 100, low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] || sorted[low]) - sorted[low]);
  };
  const correlation = (a, b) => {
    const centred = values => {
      const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
      return values.map(v => v - mean);
    };
    const [x, y] = [centred(a), centred(b)];
    return x.reduce((sum, v, i) => sum + v * y[i], 0) / (norm(x) * norm(y) || 1);
  };

  mount('[data-explorer="smooth_grad"]', figure => {
    const given = data(figure), G = array(given.gradients).values;
    const [, n, h, w] = given.gradients.shape, cells = h * w, half = n / 2;
    const drawn = ["one", "other"].map(slot => maps.canvas($('[data-panel="' + slot + '"] img', figure)));
    let order = Array.from({length: n}, (_, i) => i), draws = 0;

    // The mean of the gradients at some places of the order, signed.
    const mean = (s, from, count) => {
      const sum = new Float64Array(cells);
      for (let i = from; i < from + count; i++) {
        const start = (s * n + order[i]) * cells;
        for (let p = 0; p < cells; p++) sum[p] += G[start + p] / count;
      }
      return sum;
    };

    // One noisy copy, drawn here: the noise of the stored gradients themselves is not kept.
    const photograph = $("img.s-noisy", figure), noisy = maps.canvas(photograph);
    let clean = null;
    const spray = sigma => {
      const context = noisy.getContext("2d");
      if (!clean) {
        noisy.width = photograph.naturalWidth;
        noisy.height = photograph.naturalHeight;
        context.drawImage(photograph, 0, 0);
        clean = context.getImageData(0, 0, noisy.width, noisy.height);
      }
      const copy = context.createImageData(clean.width, clean.height), draw = random(1000 + draws);
      for (let i = 0; i < copy.data.length; i++) {
        const normal = i % 4 === 3 ? 0 : Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
        copy.data[i] = clean.data[i] + 255 * sigma * given.range * normal;
      }
      context.putImageData(copy, 0, 0);
      noisy.setAttribute("aria-label", "The photograph with noise of " + percent(sigma));
    };
    const percent = share => Number((100 * share).toFixed(1)) + " %";

    const show = () => {
      const s = chosen.get("sigma"), m = chosen.get("samples"), sigma = given.sigmas[s];
      const signed = [mean(s, 0, m), mean(s, half, m)], whole = mean(s, half, half);
      const shown = signed.map(values => values.map(Math.abs)), of = "mean of " + m + " gradient" + (m > 1 ? "s" : "");
      const agreement = correlation(shown[0], shown[1]), error = norm(signed[0].map((v, i) => v - whole[i])) / (norm(whole) || 1);
      shown.forEach((values, i) => maps.paint(drawn[i], values, h, w, {top: percentile(values, 99)},
        "Absolute " + of + " from the " + ["first", "second"][i] + " half, noise " + percent(sigma)));
      maps.title(figure, "one", null, of);
      maps.title(figure, "other", null, of);
      maps.title(figure, "noisy", null, "noise σ = " + percent(sigma) + " of the range");
      const big = {agreement: number(agreement), error: Math.round(100 * error) + " %"};
      if (given.chance) big.chance = Math.round(100 * given.chance[s]) + " %";
      Object.entries(big).forEach(([slot, text]) => { $('[data-big="' + slot + '"] b', figure).textContent = text; });
      maps.say(figure, "Noise " + percent(sigma) + ", " + of + ": two maps from different noise correlate " + big.agreement
        + "; the first is " + big.error + " away from the mean of the whole other half."
        + (given.chance ? " On such copies the network gives " + given.of + " a probability of " + big.chance + "." : ""));
      Object.assign(figure.dataset, {agreement: agreement.toFixed(5), error: error.toFixed(5)});
      if (ready) spray(sigma);
    };

    let ready = false;
    const chosen = controls(figure, name => {
      if (name === "again") order = shuffled(n, random(++draws));
      show();
    }, {sigma: at => percent(given.sigmas[at])});
    show();
    photograph.decode().then(() => { ready = true; spray(given.sigmas[chosen.get("sigma")]); });
  });
})();
