const NAME_TAKEN = 4000;

const log = document.getElementById("log");
const form = document.getElementById("form");
const text = document.getElementById("text");
let socket;

function show(line) {
  const item = document.createElement("li");
  item.textContent = line;
  log.append(item);
}

function connect() {
  socket = new WebSocket(location.href.replace(/^http/, "ws"));
  socket.onmessage = (event) => show(event.data);
  socket.onclose = (event) => {
    show(`Closed with ${event.code} ${event.reason}`);
    setTimeout(connect, event.code === NAME_TAKEN ? 0 : 2000);
  };
}

form.onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(text.value);
    text.value = "";
  }
};

connect();
