"""Live updates in FastAPI: a page shows what is published, and a plain route publishes it.

    pip install fastfan fastapi "uvicorn[standard]"
    uvicorn --app-dir examples fastapi_live:app      # http://127.0.0.1:8000/
"""

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from pubsub import Hub

hub = Hub()
app = FastAPI(lifespan=hub.lifespan)
app.mount("/live", hub)


@app.post("/say")
def say(text: str) -> dict[str, int]:
    """Any route may publish, `def` or `async def`."""
    return {"offset": hub.publish("/chat", text)}


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    return PAGE


PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Live</title>
<style>body { font: 1rem system-ui; margin: 2rem auto; max-width: 40rem } li { padding: .2rem 0 }</style>
<h1>Live</h1>
<form><input name="text" placeholder="say something" autofocus> <button>Say</button></form>
<p id="state">connecting</p>
<ul id="messages"></ul>
<script>
const state = document.querySelector("#state");
const socket = new WebSocket(`ws://${location.host}/live/chat?pubsub=subscriber`);
socket.onopen = () => state.textContent = "connected";
socket.onclose = event => state.textContent = `closed: ${event.code} ${event.reason}`;
socket.onmessage = event => {
  const item = document.createElement("li");
  item.textContent = event.data;
  document.querySelector("#messages").append(item);
};
document.querySelector("form").onsubmit = event => {
  event.preventDefault();
  const input = event.target.text;
  fetch("/say?text=" + encodeURIComponent(input.value), { method: "POST" });
  input.value = "";
};
</script>
"""
