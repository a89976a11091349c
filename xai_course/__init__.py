"""What makes the methods of ``xai_lib`` a course: checks of the exercises, explorers and quizzes."""
