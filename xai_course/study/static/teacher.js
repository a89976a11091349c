// The teacher's pages: what buttons do, and the news of a study as it comes in.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const csrf = document.querySelector("meta[name=csrf]")?.content || "";
  const data = $("data") ? JSON.parse($("data").textContent) : null;

  const post = async (address, body = {}) => {
    let error = "the server cannot be reached";
    try {
      const reply = await fetch(address, {
        method: "POST", headers: { "content-type": "application/json", "x-csrf": csrf }, body: JSON.stringify(body),
      });
      const answer = await reply.json();
      if (reply.ok) { $("failed").hidden = true; return answer; }
      error = answer.error;
    } catch { /* said below */ }
    $("failed").textContent = error[0].toUpperCase() + error.slice(1) + ".";
    $("failed").hidden = false;
    return null;
  };
  const sure = (text) => new Promise((done) => {
    $("sure-text").textContent = text;
    $("sure").showModal();
    $("sure-yes").onclick = () => { $("sure").close(); done(true); };
    $("sure-no").onclick = () => $("sure").close();
    $("sure").onclose = () => done(false);
  });

  for (const button of document.querySelectorAll("[data-post]")) {
    button.addEventListener("click", async () => {
      if (button.dataset.sure && !(await sure(button.dataset.sure))) return;
      const answer = await post(button.dataset.post, JSON.parse(button.dataset.body || "{}"));
      if (answer) location.assign(button.dataset.then + (answer.code || ""));
    });
  }
  for (const id of ["toggle-open", "toggle-shown"]) {
    $(id)?.addEventListener("click", (event) => post(`/teacher/s/${data.code}/${event.currentTarget.dataset.action}`));
  }
  $("remove")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const label = $("label").value;
    if (label && (await sure(`Delete participant ${label} with all their answers? This cannot be undone.`))) post(`/teacher/s/${data.code}/remove`, { label });
  });
  if (!data) return;

  let last = null;
  const draw = () => {
    if (!last) return;
    for (const node of document.querySelectorAll("[data-count]")) node.textContent = last[node.dataset.count];
    const badge = $("simulated");
    badge.hidden = !last.simulated;
    badge.textContent = last.simulated === last.people ? "Simulated raters: these are programs, not people" : `${last.simulated} of ${last.people} are simulated raters, not people`;
    if ($("toggle-open")) {
      $("toggle-open").textContent = last.open ? "Close the study" : "Open the study";
      $("toggle-open").dataset.action = last.open ? "close" : "open";
      $("toggle-shown").textContent = last.shown ? "Hide the result from the projected page" : "Show the result on the projected page";
      $("toggle-shown").dataset.action = last.shown ? "hide" : "show";
      const chosen = $("label").value;
      $("label").replaceChildren(...[...last.labels, ...last.unfinished].map((one) => new Option(last.labels.includes(one) ? one : `${one} (not finished)`, one)));
      if ([...last.labels, ...last.unfinished].includes(chosen)) $("label").value = chosen;
    } else {
      $("result").hidden = !last.shown;
      document.querySelector("main").classList.toggle("has-result", last.shown);
      $("join").hidden = last.shown || !last.open;
      $("closed").hidden = last.open;
    }
    if (!$("chart").closest("[hidden]")) window.studyChart($("chart"), data, last);
  };
  const news = new EventSource(`/teacher/s/${data.code}/events`);
  news.addEventListener("news", (event) => { last = JSON.parse(event.data); draw(); });
  news.addEventListener("gone", () => { news.close(); location.assign("/teacher"); });
  news.addEventListener("error", () => { if (news.readyState === EventSource.CLOSED) location.assign("/teacher"); });
  addEventListener("resize", draw);
})();
