//! Electron optics: constants, aberrations, apertures, envelopes, contrast transfer, probes.
