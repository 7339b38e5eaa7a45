"""The main job: settings, pipeline, batch, cases, files of a case, checks of the input."""
