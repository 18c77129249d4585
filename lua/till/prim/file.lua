-- till/prim/file - files, in commands only. Nothing here waits: a command may block.
--
--   read(path)                -> text | nil, err(not_found ...)
--   write(path, text [, mode])  all or nothing; mode a number (420 = 0644) -> true | nil, err
--   mkdir(path)               -> true | nil, err(conflict where it is there already ...)
--   list(dir)                 -> sorted names without hidden ones | nil, err
--   stat(path)                -> { size=, mtime_ms=, mode=, is_dir= } | nil, err
--   disk(path)                -> { free=, size=, files_free=, files= } of its disk | nil, err
--   load(text, name [, env])   -> function | nil, message (for specs)
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.file"

return c
