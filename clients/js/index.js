// The package's names. Owns nothing else.
export { Partway } from './src/partway.js';
export { PartwayError } from './src/error.js';
