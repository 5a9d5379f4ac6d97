import { useAuth } from "@handstamp/browser/react";
import { useEffect, useState } from "react";

export function App() {
  const { state } = useAuth();
  return (
    <>
      <h1>React and Handstamp</h1>
      {state.online === false && <p role="status">The sign-in service cannot be reached. You stay signed in.</p>}
      {state.status === "unknown" && <p role="status">One moment…</p>}
      {state.status === "signed-out" && <SignIn />}
      {state.status === "signed-in" && <Account />}
    </>
  );
}

function SignIn() {
  const { signIn } = useAuth();
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);

  async function submit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    setBusy(true);
    await signIn(form.get("email"), form.get("password")).catch((error) => setProblem(error.message));
    setBusy(false);
  }

  return (
    <form onSubmit={submit}>
      <p><label>E-mail address <input name="email" type="email" autoComplete="username" required /></label></p>
      <p><label>Password <input name="password" type="password" autoComplete="current-password" required /></label></p>
      {problem && <p role="alert">{problem}</p>}
      <button disabled={isBusy}>Sign in</button>
    </form>
  );
}

function Account() {
  const { profile, signOut } = useAuth();
  const [email, setEmail] = useState("…");
  const [problem, setProblem] = useState("");
  const show = (error) => setProblem(error.message);
  useEffect(() => {
    profile().then((account) => setEmail(account.email), show);
  }, [profile]);
  return (
    <>
      <p>You are signed in as <strong>{email}</strong>.</p>
      {problem && <p role="alert">{problem}</p>}
      <button onClick={() => signOut().catch(show)}>Sign out</button>
    </>
  );
}
