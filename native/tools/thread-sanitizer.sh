# Runs a program under ThreadSanitizer, again where the sanitizer itself gives up: five times at most (thread-sanitizer.cmake).
for try in 1 2 3 4 5; do
  said=$("$@" 2>&1)
  status=$?
  printf '%s\n' "$said"
  case $said in *"ThreadSanitizer failed to allocate"*) ;; *) exit $status ;; esac
done
exit $status
