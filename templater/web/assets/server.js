// Requests to the server, and its stream of events.

const PAUSE = 1000;

export class Refused extends Error {}
export class Unreachable extends Error {}

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

// Post a question and return the answer. A busy server is asked again.
export async function ask(path, question) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, {
        method: "POST", body: JSON.stringify(question), headers: { "Content-Type": "application/json" },
      });
    } catch {
      throw new Unreachable("The server does not answer. Is templater still running?");
    }
    if (answer.status === 503) await sleep(PAUSE / 4);
    else if (answer.status === 403) throw new Refused(await answer.text());
    else return await answer.json();
  }
}

// Call changed(version) at each event while the tab is visible, opening() before a stream opens, and lost() when it
// ends. A hidden tab has no stream, because browsers open only six connections to a server.
// After the server has ended, another program can listen at its address. That program does not know the server's
// secret: call foreign(accept), and accept the program's events only if accept() is called.
export function follow({ changed, opening, lost, foreign }) {
  let source = null;
  let secret;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (document.visibilityState !== "visible") return;
    opening();
    source = new EventSource("/events");
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      const accept = () => {
        secret = event.secret;
        changed(event.version);
      };
      if (secret === undefined || secret === event.secret) accept();
      else foreign(accept);
    };
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, PAUSE);
      lost();
    };
  };
  document.addEventListener("visibilitychange", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
}
