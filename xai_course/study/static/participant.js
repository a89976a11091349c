// The participant's page: consent, one trial a screen, and answers that wait here until the server has them.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const D = JSON.parse($("data").textContent);
  const HOLD = 250; // milliseconds in which a second tap of the trial before is not taken for an answer
  const KEY = `study-${D.code}`;
  const images = new Map(); // file -> the loaded picture itself, so that a trial needs no network
  let plan = [], answers = {}, pending = [], started = false, language = D.language;
  let view = () => {}, trial = null, shownAt = 0, away = false, sending = false, failures = 0, timer = 0;

  // ---- what this browser keeps
  let memory = null; // where storage is forbidden: good until the page is left
  const load = () => { try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch { return memory || {}; } };
  const keep = () => {
    memory = { pending, started, language };
    try { localStorage.setItem(KEY, JSON.stringify(memory)); } catch { /* memory alone */ }
  };
  const forget = () => {
    pending = []; started = false; memory = null;
    try { localStorage.removeItem(KEY); } catch { /* there is none */ }
  };

  // ---- words
  const t = (name, values = {}) => {
    const text = (D.texts[name] || {})[language] || D.interface[language][name] || "";
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  };
  const word = (name) => (name in D.words ? D.words[name][language] : t(name));
  const make = (tag, options = {}, ...inside) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "class") node.className = value;
      else if (value !== undefined) node.setAttribute(name, value);
    }
    node.append(...inside);
    return node;
  };
  const heading = (text) => make("h1", { tabindex: "-1" }, text);
  const button = (text, act, main = true) =>
    make("button", { type: "button", class: `s-btn${main ? " is-main" : ""}`, onclick: act }, text);

  const show = (draw, { focus = true } = {}) => {
    view = draw;
    $("main").replaceChildren(...draw());
    $("main").dataset.view = draw.name;
    footer();
    if (focus) { scrollTo(0, 0); $("main").querySelector("h1")?.focus({ preventScroll: true }); }
  };

  const footer = () => {
    $("foot").hidden = plan.length === 0;
    $("withdraw").textContent = t("withdraw");
    const waits = pending.length;
    const text = waits > 1 ? t("waiting", { n: waits }) : waits ? t("waiting_one") : Object.keys(answers).length ? t("saved") : "";
    // An answer on its way for a moment is no news: only one that could not be sent is.
    const shown = waits && !failures ? "" : text;
    if ($("sent").textContent !== shown) $("sent").textContent = shown;
    $("sent").classList.toggle("is-waiting", waits > 0 && failures > 0);
    const done = plan.filter((one) => isDone(one.id)).length;
    $("meter").hidden = plan.length === 0;
    $("meter").firstElementChild.style.width = `${plan.length ? (100 * done) / plan.length : 0}%`;
  };

  // ---- the server
  const ask = async (what, body) => {
    const stop = new AbortController(), late = setTimeout(() => stop.abort(), 15000);
    try {
      const reply = await fetch(`/s/${D.code}/${what}`, body === undefined ? { signal: stop.signal } : {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal: stop.signal,
      });
      return { status: reply.status, data: await reply.json() };
    } catch {
      return { status: 0, data: {} };
    } finally { clearTimeout(late); }
  };
  const isDone = (id) => id in answers || pending.some((one) => one.trial === id);

  // One answer at a time, the oldest first; again and again until the server says which answer it keeps.
  const send = async () => {
    if (sending) return;
    clearTimeout(timer);
    sending = true;
    while (pending.length) {
      const next = pending[0], { status, data } = await ask("answer", next);
      if (pending[0] !== next) break; // withdrawn meanwhile
      if (status === 404) { sending = false; end(); show(gone); return; }
      if (status === 0 || status === 429 || status >= 500) {
        failures += 1;
        timer = setTimeout(send, Math.min(1000 * 1.6 ** failures, 20000));
        break;
      }
      if (status === 200) answers[data.trial] = data.answer;
      else answers[next.trial] = null; // the server will never take it: do not ask for ever
      pending.shift();
      failures = 0;
      keep();
      footer();
    }
    sending = false;
    footer();
    if (view === finished) show(finished, { focus: false });
  };
  addEventListener("online", () => { failures = Math.min(failures, 1); send(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) away = true; else send(); });

  // ---- screens without a trial
  const end = () => { plan = []; answers = {}; trial = null; forget(); };
  const message = (name) => {
    const draw = () => [heading(t(`${name}_title`)), make("p", { class: "y-lead" }, t(name))];
    Object.defineProperty(draw, "name", { value: name });
    return draw;
  };
  const declined = message("declined"), withdrawn = message("withdrawn"), closed = message("closed"), gone = message("gone");
  function loading() { return [heading(t("title")), make("p", { class: "y-lead", role: "status" }, t("loading"))]; }
  function unreachable() { return [heading(t("title")), make("p", { class: "y-alert", role: "alert" }, t("no_network"))]; }
  function consent() {
    const facts = ["minutes", "voluntary", "stored", "token", "withdraw_how", "used"];
    return [
      make("p", { class: "y-small" }, t("consent_title")), heading(t("title")), make("p", { class: "y-lead" }, t("blurb")),
      make("ul", { class: "y-facts" }, ...facts.map((name) => make("li", {}, t(name, { minutes: D.minutes })))),
      make("p", { class: "y-alert", role: "alert", id: "failed", hidden: "" }),
      make("div", { class: "y-row" }, button(t("agree"), agree), button(t("decline"), () => show(declined), false)),
    ];
  }
  function instruction() {
    const count = Math.max(...plan.map((one) => one.options.length));
    const keys = Array.from({ length: count }, (_, index) => index + 1).join(", ");
    return [
      heading(t("instruction_title")), make("p", { class: "y-lead" }, t("instruction")),
      make("p", { class: "y-small" }, t("keys", { keys })), button(t("start"), start),
    ];
  }
  function loadingPictures() {
    return [heading(t("instruction_title")), make("p", { class: "y-lead", role: "status" }, t("loading_pictures"))];
  }
  function finished() {
    return [
      heading(t("done_title")), make("p", { class: "y-lead" }, t(pending.length ? "done_waiting" : "done")),
      make("p", {}, t("debrief")),
    ];
  }

  const agree = async (event) => {
    event.currentTarget.disabled = true;
    const { status, data } = await ask("join", { language, consent: true });
    if (status === 200 || status === 201) { take(data); show(instruction); return; }
    if (status === 409) { show(closed); return; }
    if (status === 404) { show(gone); return; }
    show(consent);
    $("failed").textContent = t("no_network");
    $("failed").hidden = false;
  };
  const take = (data) => {
    plan = data.plan;
    answers = data.answers;
    pending = pending.filter((one) => !(one.trial in answers) && plan.some((own) => own.id === one.trial));
    keep();
    for (const one of plan) for (const picture of one.pictures) fetchPicture(picture.file);
  };
  const fetchPicture = (file) => {
    if (images.has(file)) return;
    const image = new Image(224, 224);
    image.ready = new Promise((done) => {
      let turn = 0;
      image.onload = () => done();
      image.onerror = () => setTimeout(() => { image.src = `/picture/${file}?${(turn += 1)}`; }, Math.min(1000 * turn + 500, 8000));
    });
    image.src = `/picture/${file}`;
    images.set(file, image);
  };
  const start = async () => {
    started = true;
    keep();
    show(loadingPictures);
    await Promise.all([...images.values()].map((image) => image.ready));
    if (plan.length) next();
  };

  // ---- trials
  const next = () => {
    trial = plan.find((one) => !isDone(one.id)) || null;
    if (!trial) { show(finished); $("say").textContent = t("done"); return; }
    away = document.hidden;
    shownAt = 0;
    show(question);
    $("say").textContent = place();
    // The clock starts when the pictures have been painted.
    requestAnimationFrame(() => requestAnimationFrame(() => { shownAt = performance.now(); $("main").dataset.ready = trial?.id || ""; }));
  };
  const place = () => {
    const counted = plan.filter((one) => one.kind === "main" || one.kind === "attention");
    if (trial.kind === "practice") return t("practice");
    if (trial.kind === "learn") return t("learning");
    return t("question_of", { n: counted.indexOf(trial) + 1, all: counted.length });
  };
  const asked = () => {
    if (trial.kind === "attention") return t("check", { option: word(trial.asked) });
    if (trial.kind === "learn") return t("learn", { option: word(trial.says) });
    return t("question");
  };
  const shots = () => make("div", { class: `y-shots is-${trial.pictures.length}` }, ...trial.pictures.map(({ file, role }) => {
    const image = images.get(file);
    const name = role === "picture" ? t("picture") : role === "map" ? t("map") : t("map_of", { letter: role.toUpperCase() });
    image.alt = role === "picture" ? t("trial_alt") : t("map_alt");
    return make("figure", { class: `y-shot is-${role}` }, image, make("figcaption", {}, name));
  }));
  function question() {
    const buttons = trial.options.map((option, index) =>
      make("button", { type: "button", class: "y-option", "data-option": option, onclick: () => choose(option) },
        make("kbd", { "aria-hidden": "true" }, String(index + 1)), make("span", {}, word(option))));
    return [
      make("p", { class: "y-small y-place" }, place()), heading(asked()), shots(),
      make("div", { class: `y-options is-${trial.options.length}`, role: "group", "aria-label": asked() }, ...buttons),
    ];
  }
  function feedback(given) {
    const right = trial.truth === given, key = right ? "right" : "wrong";
    const draw = () => [
      make("p", { class: "y-small y-place" }, place()), heading(asked()), shots(),
      make("p", { class: `y-feedback${D.task === "choice" ? (right ? " is-good" : " is-bad") : ""}`, role: "status" }, t(key, { option: word(trial.truth) })),
      button(t("next"), next),
    ];
    Object.defineProperty(draw, "name", { value: "feedback" });
    return draw;
  }
  const choose = (option) => {
    if (!trial || view !== question || !shownAt || performance.now() - shownAt < HOLD) return;
    pending.push({ trial: trial.id, answer: option, ms: Math.round(performance.now() - shownAt), away });
    keep();
    send();
    if (trial.kind === "practice") {
      show(feedback(option), { focus: false });
      $("main").querySelector(".s-btn").focus();
    } else next();
  };
  addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || $("sure").open || view !== question) return;
    const option = trial?.options[Number(event.key) - 1];
    if (option !== undefined) { event.preventDefault(); choose(option); }
  });

  // ---- deleting one's answers
  $("withdraw").addEventListener("click", () => {
    for (const [id, name] of [["sure-text", "withdraw_sure"], ["sure-yes", "withdraw_yes"], ["sure-no", "withdraw_no"]]) $(id).textContent = t(name);
    $("sure-error").hidden = true;
    $("sure").showModal();
  });
  $("sure-no").addEventListener("click", () => $("sure").close());
  $("sure-yes").addEventListener("click", async () => {
    const { status } = await ask("withdraw", { withdraw: true });
    if (status !== 200 && status !== 404) {
      $("sure-error").textContent = t("withdraw_fails");
      $("sure-error").hidden = false;
      return;
    }
    $("sure").close();
    end();
    show(withdrawn);
  });

  // ---- language
  const speak = () => {
    document.documentElement.lang = language;
    document.title = t("title");
    $("languages").setAttribute("aria-label", t("languages"));
  };
  for (const one of D.languages) {
    const radio = make("input", { type: "radio", name: "language", value: one, onchange: () => {
      language = one;
      keep();
      speak();
      show(view, { focus: false });
    } });
    $("languages").append(make("label", {}, radio, make("span", { lang: one }, D.interface[one].language)));
  }

  // ---- begin, or go on where this browser left off
  const begin = async (turn = 0) => {
    const { status, data } = await ask("me");
    if (status === 404) { end(); show(gone); return; }
    if (status !== 200) {
      if (turn === 0) show(unreachable);
      setTimeout(begin, Math.min(1000 * (turn + 1), 8000), turn + 1);
      return;
    }
    if (!data.joined) { const own = language; forget(); language = own; show(data.open ? consent : closed); return; }
    take(data);
    send();
    if (started || Object.keys(answers).length) start(); else show(instruction);
  };
  const kept = load();
  pending = kept.pending || [];
  started = kept.started || false;
  language = D.languages.includes(kept.language) ? kept.language : language;
  $("languages").querySelector(`[value=${language}]`).checked = true;
  speak();
  show(loading, { focus: false });
  begin();
})();
