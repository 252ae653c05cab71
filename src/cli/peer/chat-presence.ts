/**
 * What a chat at a terminal lets others know, and what it knows of them: who is here and typing, and how far each has
 * read. A person who has not pressed a key for a while is idle, and has read nothing since.
 */
import type { MemberPresence, Message, Room, TimelineItem } from "../../client/index.ts";

/** After this time without a key, a person is idle, in milliseconds. */
const idleMs = 5 * 60_000;

/** The presence of a person in one room. Nothing is sent for a chat on pipes. */
export class ChatPresence implements Disposable {
  readonly #release = new DisposableStack();
  #idle: ReturnType<typeof setTimeout> | null = null;
  #isIdle = false;
  /** The newest message that was shown. */
  #newest: Pick<Message, "id"> | null = null;
  /** How many messages of others were shown since the person pressed a key. */
  unread = 0;

  constructor(
    private readonly room: Room,
    private readonly isTerminal: boolean,
    /** Called when something of the other members changed. */
    onChange: () => void,
  ) {
    const { presence } = room;
    this.#release.defer(presence.on("change", onChange));
    if (!isTerminal) return;
    this.#release.defer(presence.open());
    this.#release.defer(() => clearTimeout(this.#idle ?? undefined));
    this.#wait();
  }

  /** The other members of whom something is known. */
  get others(): readonly MemberPresence[] {
    return this.room.presence.members;
  }

  /** The person pressed a key. `line`: what is typed now. */
  pressed(line: string): void {
    this.unread = 0;
    const { presence } = this.room;
    // A command is not a message.
    presence.typing(line !== "" && !/^\/(?!\/)/.test(line));
    if (this.#isIdle) {
      this.#isIdle = false;
      presence.setIdle(false);
      if (this.#newest !== null) presence.read(this.#newest);
    }
    this.#wait();
  }

  /** A message was shown. */
  shown(item: TimelineItem<Message>, isOwn: boolean): void {
    if (!this.isTerminal || isOwn) return;
    this.unread += 1;
    if (this.#newest === null || item.id > this.#newest.id) this.#newest = { id: item.id };
    if (!this.#isIdle) this.room.presence.read(this.#newest);
  }

  [Symbol.dispose](): void {
    this.#release.dispose();
  }

  #wait(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#isIdle = true;
      this.room.presence.setIdle(true);
    }, idleMs);
  }
}
