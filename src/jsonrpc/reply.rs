//! What a backend answered: one reply or a batch of them, borrowed from the body's bytes.
