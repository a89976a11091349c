"""What makes the methods of ``xai_lib`` a course: checks, explorers, quizzes, and what a teacher needs."""
