"""Labels as decisions: appended, answered by revision, undone by further decisions."""
