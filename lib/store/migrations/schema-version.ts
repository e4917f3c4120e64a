/** The schema that this version of the library was written for. */
export const SCHEMA_VERSION = 1;

/** How many lock rows the keys of all messages share on MySQL. A power of two, as the bucket is the digest's low bits. */
export const KEY_BUCKETS = 1_024;
