// A small convolutional network on typed arrays: window.sinb.network(what tools/pack_network.py wrote).
// Convolutions 3 by 3, ReLU, max pooling, linear layers. Places are rows by columns by channels, with a border
// of one zero around each map, so that the three pixels of a row under a kernel stand in one run of memory.
(() => {
  "use strict";
  const {sinb} = window;

  // One convolution with its ReLU and, where it has one, its pooling: from a bordered map to the next.
  const convolution = (from, to, weights, bias, side, inputs, outputs, halve) => {
    const row = (side + 2) * inputs, run = 3 * inputs, step = halve ? 2 : 1, end = side / step;
    // What stands at pixel (y, x) for four output channels, added up in one sweep over the patch.
    return (y0, y1, x0, x1) => {
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) {
          const place = ((y + 1) * (end + 2) + x + 1) * outputs;
          for (let o = 0; o < outputs; o += 4) {
            let a = 0, b = 0, c = 0, d = 0;
            for (let dy = 0; dy < step; dy++) {
              for (let dx = 0; dx < step; dx++) {
                let p = bias[o], q = bias[o + 1], r = bias[o + 2], s = bias[o + 3];
                let w = o * 9 * inputs;
                const stride = 9 * inputs, corner = (y * step + dy) * row + (x * step + dx) * inputs;
                for (let k = 0; k < 3; k++) {
                  const start = corner + k * row;
                  for (let i = start; i < start + run; i++, w++) {
                    const v = from[i];
                    p += v * weights[w];
                    q += v * weights[w + stride];
                    r += v * weights[w + 2 * stride];
                    s += v * weights[w + 3 * stride];
                  }
                }
                if (p > a) a = p;
                if (q > b) b = q;
                if (r > c) c = r;
                if (s > d) d = s;
              }
            }
            to[place + o] = a;
            to[place + o + 1] = b;
            to[place + o + 2] = c;
            to[place + o + 3] = d;
          }
        }
      }
    };
  };

  const linear = (from, to, weights, bias) => {
    for (let o = 0; o < to.length; o++) {
      let sum = bias[o];
      for (let i = 0, w = o * from.length; i < from.length; i++, w++) sum += from[i] * weights[w];
      to[o] = sum;
    }
  };

  sinb.network = packed => {
    const numbers = sinb.floats(packed.weights, "f16"), {size, labels, mean, deviation} = packed;
    let read = 0;
    const take = count => numbers.subarray(read, read += count);
    const maps = [new Float32Array((size + 2) ** 2 * 3)], layers = [];
    let side = size, inputs = 3;
    packed.convolutions.forEach(([outputs, halve]) => {
      const next = side / (halve ? 2 : 1), map = new Float32Array((next + 2) ** 2 * outputs);
      const weights = take(outputs * 9 * inputs), bias = take(outputs);
      const run = convolution(maps[maps.length - 1], map, weights, bias, side, inputs, outputs, halve);
      layers.push({run, halve, side: next, channels: outputs});
      maps.push(map);
      side = next;
      inputs = outputs;
    });
    const last = maps[maps.length - 1], flat = new Float32Array((side / 2) ** 2 * inputs);
    const wide = packed.hidden, hidden = new Float32Array(wide), logits = new Float32Array(labels.length);
    const heads = [[take(wide * flat.length), take(wide)], [take(logits.length * wide), take(logits.length)]];
    const saved = maps.map(map => map.slice());

    // The last pooling, and the values row by row.
    const pool = () => {
      let f = 0;
      for (let y = 1; y <= side; y += 2) {
        for (let x = 1; x <= side; x += 2) {
          for (let k = 0; k < inputs; k++) {
            const i = (y * (side + 2) + x) * inputs + k, j = i + (side + 2) * inputs;
            flat[f++] = Math.max(last[i], last[i + inputs], last[j], last[j + inputs]);
          }
        }
      }
    };

    // Logits after the pixels of the rows y0 to y1 and columns x0 to x1 have changed: what they reach, no more.
    const run = (y0, y1, x0, x1) => {
      layers.forEach(layer => {
        const half = layer.halve ? 2 : 1, far = layer.side;
        y0 = Math.max(0, Math.floor((y0 - 1) / half));
        x0 = Math.max(0, Math.floor((x0 - 1) / half));
        y1 = Math.min(far, Math.ceil((y1 + 1) / half));
        x1 = Math.min(far, Math.ceil((x1 + 1) / half));
        layer.run(y0, y1, x0, x1);
      });
      pool();
      linear(flat, hidden, ...heads[0]);
      for (let i = 0; i < wide; i++) hidden[i] = Math.max(0, hidden[i]);
      linear(hidden, logits, ...heads[1]);
      return logits;
    };

    // Pixels in [0, 1], rows by columns by colours, into the first map; only the given rows and columns.
    const write = (pixels, y0, y1, x0, x1) => {
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) {
          for (let k = 0; k < 3; k++) {
            maps[0][((y + 1) * (size + 2) + x + 1) * 3 + k] = (pixels[(y * size + x) * 3 + k] - mean[k]) / deviation[k];
          }
        }
      }
    };

    let before = null;
    // The logits of a picture. A picture that differs from the one before in few places costs little.
    const logitsOf = pixels => {
      let y0 = size, y1 = 0, x0 = size, x1 = 0;
      for (let y = 0, i = 0; y < size; y++) {
        for (let x = 0; x < size; x++, i += 3) {
          if (before && pixels[i] === before[i] && pixels[i + 1] === before[i + 1] && pixels[i + 2] === before[i + 2]) continue;
          if (y < y0) y0 = y;
          if (x < x0) x0 = x;
          if (y >= y1) y1 = y + 1;
          if (x >= x1) x1 = x + 1;
        }
      }
      before = pixels.slice();
      if (y1 > y0) {
        write(pixels, y0, y1, x0, x1);
        run(y0, y1, x0, x1);
      }
      return Array.from(logits);
    };

    const softmax = values => {
      const top = Math.max(...values), powers = values.map(v => Math.exp(v - top));
      const sum = powers.reduce((a, b) => a + b);
      return powers.map(p => p / sum);
    };

    // What the probability of a class loses when a grey window hides a place: a generator, one pass for each
    // step, so that a page stays awake between them. The picture must not change meanwhile.
    const occlusion = function* (pixels, target, window, stride, fill) {
      const places = Math.floor((size - window) / stride) + 1, whole = softmax(logitsOf(pixels))[target];
      const lost = new Float32Array(places * places), grey = new Float32Array(size * size * 3).fill(fill);
      maps.forEach((map, i) => saved[i].set(map));
      const own = Array.from(logits);
      for (let k = 0; k < lost.length; k++) {
        const y = Math.floor(k / places) * stride, x = (k % places) * stride;
        write(grey, y, y + window, x, x + window);
        lost[k] = whole - softmax(Array.from(run(y, y + window, x, x + window)))[target];
        maps.forEach((map, i) => map.set(saved[i]));
        logits.set(own);
        yield lost;
      }
      return lost;
    };

    return {size, labels, logits: logitsOf, softmax, occlusion, weights: numbers.length};
  };
})();
