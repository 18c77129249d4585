-- 0009 search: what the embedded product search looks in.
--
-- Why: InnoDB's full text finds words and prefixes, but no misspelt ones. So
--      the shop's own vocabulary stands beside the documents: each word with
--      how it sounds, and with every spelling that lacks one letter of it. Two
--      words are one letter apart when they share such a piece (or are one
--      another's), which is an index lookup instead of a scan.
-- Rows here are derived: `search_documents` may be emptied and filled again
-- from the products at any time.
--
-- Locking: new tables only.
-- Undo:    forward only; a later migration would drop the tables.

CREATE TABLE search_documents (
    product_id BINARY(16) NOT NULL,
    words      TEXT       NOT NULL COMMENT 'lower case, split by blanks: title, SKUs, options, categories, tags',
    PRIMARY KEY (product_id),
    FULLTEXT KEY search_documents_words (words),
    CONSTRAINT search_documents_product FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE search_words (
    word      VARCHAR(48) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    sound     VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'till.util.words; empty: none',
    frequency INT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'roughly, in documents; orders the candidates',
    PRIMARY KEY (word),
    KEY search_words_sound (sound, frequency)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE search_pieces (
    piece VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the word without one letter, and the word itself',
    word  VARCHAR(48) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    PRIMARY KEY (piece, word)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
