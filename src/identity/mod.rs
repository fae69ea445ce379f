//! Tickets, tokens, generations and the site authority. Keys are passed in; no socket, no clock.
