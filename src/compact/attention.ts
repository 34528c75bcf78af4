import { REF_WORDS } from "../../store/store.ts";

/** Records of objects and holders that something is to be done about: 32-bit words, sorted by kind and name. */
export const KIND = 0;
export const REF = 1;
export const INO_HIGH = REF + REF_WORDS;
export const INO_LOW = INO_HIGH + 1;
export const NLINK = INO_HIGH + 2;
/** Two words. */
export const BLOCKS_HIGH = INO_HIGH + 3;
export const ATTENTION_WORDS = INO_HIGH + 5;

/** The inode is no longer what its name says, or what the index remembers. */
export const MOVED = 1;
/** The index does not know it. */
export const UNINDEXED = 2;
/** One of several inodes of one object. */
export const SIBLING = 3;
/** It has no other name. */
export const UNNAMED = 4;

export const attentionLayout = {
  words: ATTENTION_WORDS,
  key: Array.from({ length: INO_HIGH }, (_, index) => index),
};

/** What was decided about an object: as above, its true name, and the state that this is true of. */
export const TO = BLOCKS_HIGH + 2;
/** Two words; then the mtime's three. */
export const SIZE_HIGH = TO + REF_WORDS;
export const MTIME = SIZE_HIGH + 2;
export const DECISION_WORDS = MTIME + 3;

/** Kinds of decisions: it has other attributes; it has other content; it has none; a holder has some. */
export const REFILE = 1;
export const EDITED = 2;
export const EMPTIED = 3;
export const FILLED = 4;

export const decisionLayout = { words: DECISION_WORDS, key: attentionLayout.key };

export const BLOCK_BYTES = 512;
