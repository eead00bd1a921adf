/**
 * The page of the chat: a socket that comes back by itself, and a view.
 *
 * Everything that people write is put in as text, never as HTML. What the
 * messages look like is written at the head of room.py.
 */

const $ = (id) => document.getElementById(id);

/* ------------------------------------------------------------ the socket -- */

const FIRST_DELAY = 500; // ms
const LONGEST_DELAY = 8000; // ms
const TAKEN_OVER = 4000; // close code, see room.py

/** A WebSocket that connects again, a little later each time, until it's left. */
class Connection {
  #socket = null;
  #timer = null;
  #delay = FIRST_DELAY;

  constructor(url, { onOpen, onMessage, onDown }) {
    Object.assign(this, { url, onOpen, onMessage, onDown });
    // No need to wait any longer when the network or the reader is back.
    addEventListener("online", () => this.#hurry());
    addEventListener("visibilitychange", () => this.#hurry());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    if (this.#socket !== null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.addEventListener("open", () => this.onOpen());
    socket.addEventListener("message", ({ data }) => this.onMessage(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => {
      this.#socket = null;
      const final = code === TAKEN_OVER;
      if (!final) {
        // Not all at once, when a server with many people comes back.
        this.#timer = setTimeout(() => this.connect(), this.#delay * (0.5 + Math.random() / 2));
        this.#delay = Math.min(2 * this.#delay, LONGEST_DELAY);
      }
      this.onDown(final);
    });
  }

  /** All is well: the next loss starts with a short delay. */
  settle() {
    this.#delay = FIRST_DELAY;
  }

  send(message) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #hurry() {
    if (this.#timer !== null && document.visibilityState === "visible") this.connect();
  }
}

/* -------------------------------------------------------------- the state -- */

const BOT = "Bot";
const LONGEST_LOG = { message: 500, notice: 50 }; // of each kind: no notice costs a message

/** Kept by this tab, so that a reload finds the same person. */
const memory = {
  get(name) {
    try { return sessionStorage.getItem(name) ?? ""; } catch { return ""; }
  },
  set(name, value) {
    try { sessionStorage.setItem(name, value); } catch { /* Storage is off. */ }
  },
};

let wanted = memory.get("name"); // the name that we ask for
let me = null; // the name that we have got
let key = memory.get("key");
if (!key) {
  key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  memory.set("key", key);
}
let recipient = null; // of the next message; null for everyone
let lastSent = ""; // to give it back when the server refuses it
let unread = 0;
/** What is known of each name: the greatest revision decides, see room.py. */
let known = new Map();

const people = () => [...known].filter(([, { here }]) => here).map(([name]) => name);

function learn(name, revision, here) {
  if (revision > (known.get(name)?.revision ?? -1)) known.set(name, { revision, here });
}

/* ------------------------------------------------------------ the protocol -- */

const url = new URL("ws", location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
url.search = url.hash = "";

const connection = new Connection(url.href, {
  onOpen() {
    known = new Map();
    connection.send({ type: "name", name: wanted, key });
  },

  onDown(final) {
    const wasIn = me !== null && $("status").dataset.state === "online";
    if (final) {
      showDoor("You are in the room with your other window now.");
    } else if (me !== null) {
      setStatus("reconnecting", "Reconnecting…");
      if (wasIn) notice("The connection is lost. Trying to get it back…");
    } else {
      setStatus("connecting", "Connecting…");
      doorError("The server doesn't answer. Trying again…");
      $("enter").disabled = false;
    }
  },

  onMessage(message) {
    handlers[message.type]?.(message);
  },
});

const handlers = {
  welcome({ name, people: names, revision }) {
    connection.settle();
    const back = me !== null;
    me = wanted = name;
    memory.set("name", name);
    for (const each of names) learn(each, revision, true);
    setStatus("online", "Online");
    hint("");
    showPeople();
    if (back) {
      notice("Connected again.");
    } else {
      showRoom();
      notice(`You joined as ${name}.`);
    }
  },

  joined({ name, revision }) {
    learn(name, revision, true);
    showPeople();
    if (name !== (me ?? wanted)) noticeChange(name, "joined");
  },

  left({ name, revision }) {
    learn(name, revision, false);
    showPeople();
    noticeChange(name, "left");
  },

  message: (message) => showMessage(message),

  error({ code, text }) {
    if (code === "name") {
      connection.settle();
      showDoor(text);
      return;
    }
    hint(text);
    if (!$("text").value) setText(lastSent);
  },
};

/* ---------------------------------------------------------------- the view -- */

function setStatus(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

function showDoor(error) {
  me = null;
  $("room").hidden = true;
  $("door").hidden = false;
  $("name").value ||= wanted;
  doorError(error);
  $("enter").disabled = false;
  $("name").focus();
  $("name").select();
}

function doorError(text) {
  $("door-error").textContent = text;
  $("name").setAttribute("aria-invalid", String(Boolean(text)));
}

function showRoom() {
  $("door").hidden = true;
  $("room").hidden = false;
  doorError("");
  $("enter").disabled = false;
  $("text").focus();
}

function hint(text) {
  $("hint").textContent = text;
}

let following = true; // whether the end of the log is in sight

/** Adds a line to the log; the reader who looks at older ones is left alone. */
function append(node, mine = false) {
  $("log").append(node);
  for (const [kind, most] of Object.entries(LONGEST_LOG)) {
    const lines = $("log").getElementsByClassName(kind);
    while (lines.length > most) lines[0].remove();
  }
  // Its author may have been written above a message that is gone.
  $("log").querySelector(".message")?.classList.remove("more");
  if (following || mine) scrollDown();
  else if (node.classList.contains("message")) $("latest").hidden = false;
}

function scrollDown() {
  following = true;
  $("log").scrollTop = $("log").scrollHeight;
  $("latest").hidden = true;
}

function notice(text, spoken = true) {
  const line = document.createElement("p");
  line.className = "notice";
  line.dir = "auto";
  line.textContent = text;
  if (!spoken) line.setAttribute("aria-live", "off");
  append(line);
  return line;
}

const enumeration = new Intl.ListFormat("en");
let changes = { line: null, verbs: new Map() }; // newest line of those; name -> verb

/** Says who came or went: one line between two messages, which isn't read aloud. */
function noticeChange(name, verb) {
  if (changes.line === null || changes.line !== $("log").lastElementChild) {
    changes = { line: notice("", false), verbs: new Map() };
  }
  changes.verbs.set(name, verb);
  const sentences = ["joined", "left"].map((verb) => {
    const names = [...changes.verbs.keys()].filter((name) => changes.verbs.get(name) === verb);
    if (names.length > 4) names.splice(3, names.length, `${names.length - 3} others`);
    return names.length > 0 ? `${enumeration.format(names)} ${verb}.` : "";
  });
  changes.line.textContent = sentences.join(" ").trim();
  if (following) scrollDown();
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });

function showMessage({ from, text, to }) {
  const mine = from === me;
  const node = $("message-template").content.firstElementChild.cloneNode(true);
  const last = $("log").lastElementChild;
  const now = new Date();
  node.dataset.from = from;
  node.dataset.to = to ?? "";
  node.classList.toggle("mine", mine);
  node.classList.toggle("is-private", to !== undefined);
  node.classList.toggle(
    "more",
    last?.dataset.from === from && last.dataset.to === node.dataset.to &&
      clock.format(now) === last.querySelector("time").textContent,
  );
  paint(node.querySelector(".avatar"), from);
  node.querySelector(".author").textContent = mine ? "You" : from;
  if (to === undefined) node.querySelector(".private").remove();
  else node.querySelector(".private-text").textContent = mine ? `only for ${to}` : "only for you";
  node.querySelector("time").textContent = clock.format(now);
  node.querySelector("time").dateTime = now.toISOString();
  node.querySelector(".text").textContent = text;
  append(node, mine);
  if (document.hidden && !mine) {
    unread += 1;
    document.title = `(${unread}) websock chat`;
  }
}

/** Gives an avatar the first letters of a name, and a colour of its own. */
function paint(avatar, name) {
  if (name === BOT) {
    avatar.classList.add("bot");
    avatar.replaceChildren($("bot-template").content.cloneNode(true));
    return;
  }
  const words = name.split(" ");
  const letters = (words.length > 1 ? [words[0], words.at(-1)] : [name]).map((w) => [...w][0]);
  avatar.textContent = letters.join("").toLocaleUpperCase();
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 997;
  avatar.style.setProperty("--hue", (hash * 137) % 360);
}

const rows = new Map(); // name -> its row in the list, which stays where it is
let current = BOT; // whose row the Tab key leads to; arrow keys lead to the others

function showPeople() {
  const list = $("people-list");
  const names = people().sort(
    (a, b) => (b === me) - (a === me) || (b === BOT) - (a === BOT) || a.localeCompare(b),
  );
  const hadFocus = list.contains(document.activeElement);
  for (const [name, row] of rows) {
    if (known.get(name)?.here) continue;
    row.remove();
    rows.delete(name);
  }
  names.forEach((name, i) => {
    if (!rows.has(name)) rows.set(name, makeRow(name));
    const row = rows.get(name);
    if (list.children[i] !== row) list.insertBefore(row, list.children[i]);
    row.setAttribute("aria-disabled", String(name === me));
    row.setAttribute("aria-selected", String(name === recipient));
    row.querySelector(".note").textContent = name === me ? "you" : name === BOT ? "always here" : "";
  });
  if (!rows.has(current)) current = BOT;
  for (const [name, row] of rows) row.tabIndex = name === current ? 0 : -1;
  if (hadFocus) rows.get(current)?.focus();
  $("people-count").textContent = names.length;
}

function makeRow(name) {
  const row = $("person-template").content.firstElementChild.cloneNode(true);
  row.dataset.name = name;
  paint(row.querySelector(".avatar"), name);
  row.querySelector(".who").textContent = name;
  row.addEventListener("click", () => {
    if (name === me) return;
    setRecipient(name === recipient ? null : name);
    togglePeople(false);
    $("text").focus();
  });
  return row;
}

/** Row of the list that a key leads to: an arrow, or the first letter of a name. */
function rowFor(key) {
  const all = [...$("people-list").children];
  const at = all.indexOf(rows.get(current));
  const ends = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
  if (key in ends) return all[ends[key]];
  if ([...key].length > 1) return undefined;
  const next = [...all.slice(at + 1), ...all.slice(0, at + 1)];
  return next.find((row) => fold(row.dataset.name).startsWith(fold(key)));
}

function setRecipient(name) {
  recipient = name;
  current = name ?? current;
  $("recipient").hidden = name === null;
  $("recipient-name").textContent = name ?? "";
  $("composer").classList.toggle("is-private", name !== null);
  $("text").placeholder = name === null ? "Write to everyone" : `Write to ${name}`;
  hint("");
  showPeople();
}

/** On a narrow screen, the list of people is a sheet that comes and goes. */
function togglePeople(open) {
  $("people-button").setAttribute("aria-expanded", String(open));
  $("room").classList.toggle("with-people", open);
  if (open) rows.get(current)?.focus();
}

const grows = CSS.supports("field-sizing", "content");

function setText(text) {
  $("text").value = text;
  fit();
}

function fit() {
  if (grows) return;
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

/* --------------------------------------------------------------- the hands -- */

const fold = (text) => text.normalize("NFKC").toLowerCase();

/** Splits "@name text"; a name that nobody has is no reason to tell everyone. */
function address(text) {
  if (!text.startsWith("@")) return { to: recipient, text };
  const to = people()
    .filter((name) => fold(name) === fold(text.slice(1, 1 + name.length)))
    .filter((name) => /^([\s,:]|$)/.test(text.slice(1 + name.length)))
    .sort((a, b) => b.length - a.length)[0];
  if (to === undefined && recipient !== null) return { to: recipient, text };
  if (to === undefined) return { fault: `Nobody called ${text.split(/\s/)[0]} is here.` };
  return { to, text: text.slice(1 + to.length).replace(/^[\s,:]+/, "") };
}

function submit() {
  const { to, text, fault } = address($("text").value.trim());
  hint(fault ?? "");
  if (fault) return;
  if (to !== recipient) setRecipient(to);
  if (!text) {
    setText("");
  } else if (to !== null && !people().includes(to)) {
    hint(`${to} isn't here any more.`);
  } else if (me === null || !connection.send({ type: "message", text, ...(to !== null && { to }) })) {
    hint("Not connected. Your message is kept here until you are.");
  } else {
    lastSent = $("text").value;
    setText("");
  }
}

$("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  wanted = $("name").value.trim();
  if (!wanted) {
    doorError("Please choose a name.");
    $("name").focus();
    return;
  }
  doorError("");
  $("enter").disabled = true;
  if (!connection.send({ type: "name", name: wanted, key })) connection.connect();
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
  $("text").focus();
});

$("text").addEventListener("keydown", (event) => {
  // While a word is being composed (Japanese, say), Enter belongs to that.
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    submit();
  } else if (event.key === "Backspace" && recipient !== null && !$("text").value) {
    setRecipient(null);
  }
});

$("text").addEventListener("input", fit);

$("recipient-clear").addEventListener("click", () => {
  setRecipient(null);
  $("text").focus();
});

$("people-button").addEventListener("click", () => {
  togglePeople($("people-button").getAttribute("aria-expanded") !== "true");
});

$("people-list").addEventListener("focusin", ({ target }) => {
  rows.get(current).tabIndex = -1;
  current = target.dataset.name;
  target.tabIndex = 0;
});

$("people-list").addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Enter" || event.key === " ") event.target.click();
  else if (rowFor(event.key)) rowFor(event.key).focus();
  else return;
  event.preventDefault();
});

$("log").addEventListener("click", () => togglePeople(false));

$("room").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if ($("people-button").getAttribute("aria-expanded") === "true") {
    togglePeople(false);
    $("people-button").focus();
  } else if (recipient !== null) {
    setRecipient(null);
    $("text").focus();
  }
});

$("latest").addEventListener("click", () => {
  scrollDown();
  $("text").focus();
});

$("log").addEventListener("scroll", () => {
  const log = $("log");
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  if (following) $("latest").hidden = true;
});

// The log gets smaller when the keyboard of a phone comes up, or a draft grows.
new ResizeObserver(() => following && scrollDown()).observe($("log"));

addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = "websock chat";
});

if (wanted) {
  $("name").value = wanted;
  connection.connect();
} else {
  $("name").focus();
}
