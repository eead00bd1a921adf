const log = document.getElementById("log");
const form = document.getElementById("form");
const text = document.getElementById("text");

function show(line) {
  const item = document.createElement("li");
  item.textContent = line;
  log.append(item);
}

const socket = new WebSocket(location.href.replace(/^http/, "ws"));
socket.onopen = () => show("Connected.");
socket.onmessage = (event) => show(event.data);

form.onsubmit = (event) => {
  event.preventDefault();
  socket.send(text.value);
  text.value = "";
};
