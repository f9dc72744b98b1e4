//! Pictures: colour maps, panels, plots, PNG.
