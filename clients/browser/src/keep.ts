/** A session, or one that must still be signed out: its refresh token, and the key to which it is bound. */
export interface Bound {
  readonly keys: CryptoKeyPair;
  readonly token: string;
}

/** What the browser keeps. */
export interface Kept {
  readonly current?: Bound | undefined;
  readonly ending: readonly Bound[];
}

const NOTHING: Kept = { ending: [] };
const STORE = "sessions";

/**
 * Return functions that read and change what IndexedDB keeps for a service. All tabs of the origin share it, and changes are atomic.
 *
 * A browser that refuses to store it, as with blocked cookies or a full disk, keeps it in memory until the page is closed.
 */
export function openKeep(url: string): { read: () => Promise<Kept>; change: (change: (kept: Kept) => Kept) => Promise<Kept> } {
  let memory: Kept | undefined;
  let opening: Promise<IDBDatabase> | undefined;

  const open = (): Promise<IDBDatabase> => {
    const request = indexedDB.open("handstamp", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    return settled(request).then((database) => {
      // The browser closes it when the person clears the site's data.
      database.onclose = database.onversionchange = () => {
        database.close();
        opening = undefined;
      };
      return database;
    });
  };

  const inBrowser = async (mode: IDBTransactionMode, change: (kept: Kept) => Kept): Promise<Kept> => {
    opening ??= open();
    const transaction = (await opening).transaction(STORE, mode);
    const store = transaction.objectStore(STORE);
    const before = ((await settled(store.get(url))) as Kept | undefined) ?? NOTHING;
    const after = change(before);
    if (after === before) return before;
    if (after.current || after.ending.length > 0) store.put(after, url);
    else store.delete(url);
    await new Promise<void>((done, fail) => {
      transaction.oncomplete = () => done();
      transaction.onabort = () => fail(transaction.error);
    });
    return after;
  };

  const run = async (mode: IDBTransactionMode, change: (kept: Kept) => Kept): Promise<Kept> => {
    if (!memory) {
      try {
        return await inBrowser(mode, change);
      } catch (error) {
        opening = undefined;
        memory = NOTHING;
        console.error(`Handstamp: IndexedDB cannot be used, so the session ends when this page is closed. ${String(error)}`);
      }
    }
    return (memory = change(memory));
  };
  return { read: () => run("readonly", (kept) => kept), change: (change) => run("readwrite", change) };
}

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
