// The teacher's sign-in: a wrong password is said in place.
document.getElementById("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = document.getElementById("wrong"), field = document.getElementById("password");
  wrong.hidden = true;
  let error = "the server cannot be reached";
  try {
    const reply = await fetch("/teacher/sign-in", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ password: field.value }),
    });
    if (reply.ok) { location.reload(); return; }
    error = (await reply.json()).error;
  } catch { /* said below */ }
  wrong.textContent = error[0].toUpperCase() + error.slice(1) + ".";
  wrong.hidden = false;
  field.select();
});
