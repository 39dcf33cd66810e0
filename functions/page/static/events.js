// The parts of the page tell each other what happened. No part needs to know who listens.
//
// signed-in            a user is signed in
// signed-out (text)    nobody is signed in any more, and why
// language             the words have changed
// job (job)            a job is new, or has changed
// ended (job)          a job has ended while the page watched it
// gone (id, text)      a job does not exist any more, and why
// trouble (id)         a job could not be asked for, and the page asks again; or it can be asked for again
// removed (id), restored (id)   the user deleted a job, or undid that
// upload (id)          an upload has begun, moved on or ended
// styles               the stack's styles are known
// picture              a picture has been loaded

const bus = new EventTarget();

export const on = (name, act) => bus.addEventListener(name, (event) => act(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

const CHANNEL = new BroadcastChannel("triptych");

/** Tell the other tabs that there is another list of jobs. */
export const tellOtherTabs = () => CHANNEL.postMessage("jobs");
export const onOtherTab = (act) => CHANNEL.addEventListener("message", act);
