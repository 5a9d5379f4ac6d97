import { useAuth } from "@handstamp/browser/react";
import { useEffect, useState } from "react";
import { onQuestion } from "./auth.js";

export function App() {
  const { state } = useAuth();
  return (
    <>
      <h1>React and Handstamp</h1>
      {state.online === false && <p role="status">The sign-in service cannot be reached. You stay signed in.</p>}
      {state.status === "unknown" && <p role="status">One moment…</p>}
      {state.status === "signed-out" && <SignIn />}
      {state.status === "signed-in" && <Account />}
      <Question />
    </>
  );
}

function SignIn() {
  const { signIn, secondFactor } = useAuth();
  const [needed, setNeeded] = useState();
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);

  async function submit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    setBusy(true);
    setProblem("");
    try {
      const next = needed ? await secondFactor(needed, read(form.get("code"))) : await signIn(form.get("email"), form.get("password"));
      if (next.status === "second-factor") setNeeded(next);
      if (next.status === "enrolment") setProblem("Set up a second factor at the service first.");
    } catch (error) {
      setProblem(error.message);
      if (error.code === "invalid_challenge") setNeeded(undefined); // the sign-in begins again
    }
    setBusy(false);
  }

  return (
    <form onSubmit={submit}>
      {needed ? (
        <Code />
      ) : (
        <>
          <p><label>E-mail address <input name="email" type="email" autoComplete="username" required /></label></p>
          <p><label>Password <input name="password" type="password" autoComplete="current-password" required /></label></p>
        </>
      )}
      {problem && <p role="alert">{problem}</p>}
      <button disabled={isBusy}>Sign in</button>
    </form>
  );
}

const Code = () => (
  <p><label>Code of your app, or a recovery code <input name="code" autoComplete="one-time-code" required /></label></p>
);

/** A recovery code is longer than a code of an app. */
const read = (text) => (/^[\d ]{6,7}$/.test(text.trim()) ? { code: text } : { recoveryCode: text });

/** Ask for the proof that a request waits for. */
function Question() {
  const [question, setQuestion] = useState();
  useEffect(() => onQuestion(setQuestion), []);
  if (!question) return null;

  function submit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    question.answer(question.needsCode ? read(form.get("code")) : { password: form.get("password") });
  }

  return (
    <form onSubmit={submit} aria-label="Confirm that it is you">
      <h2>Confirm that it is you</h2>
      {question.needsCode ? (
        <Code />
      ) : (
        <p><label>Password <input name="password" type="password" autoComplete="current-password" required /></label></p>
      )}
      {question.problem && <p role="alert">{question.problem}</p>}
      <button>Confirm</button>
      <button type="button" onClick={() => question.answer(undefined)}>Cancel</button>
    </form>
  );
}

function Account() {
  const { profile, signOut, createTotp, confirmTotp } = useAuth();
  const [email, setEmail] = useState("…");
  const [made, setMade] = useState();
  const [codes, setCodes] = useState([]);
  const [problem, setProblem] = useState("");
  const show = (error) => setProblem(error.message);
  useEffect(() => {
    profile().then((account) => setEmail(account.email), show);
  }, [profile]);

  async function confirm(event) {
    event.preventDefault();
    try {
      setCodes(await confirmTotp(made, new FormData(event.target).get("code")));
      setMade(undefined);
    } catch (error) {
      show(error);
    }
  }

  return (
    <>
      <p>You are signed in as <strong>{email}</strong>.</p>
      {made && (
        <form onSubmit={confirm}>
          <p><img src={`data:image/svg+xml,${encodeURIComponent(made.qr)}`} alt="" width="200" /> <code>{made.secret}</code></p>
          <p><label>First code <input name="code" autoComplete="one-time-code" required /></label></p>
          <button>Confirm the app</button>
        </form>
      )}
      {codes.length > 0 && <p>Save these recovery codes: <code>{codes.join(" ")}</code></p>}
      {problem && <p role="alert">{problem}</p>}
      <button onClick={() => createTotp().then(setMade, show)}>Set up an authenticator app</button>
      <button onClick={() => signOut().catch(show)}>Sign out</button>
    </>
  );
}
