--- From dirty transactions to a catalogue: names, groups, colours, pictures.
--
-- The file has no catalogue; it has what the tills wrote. A code has several
-- spellings of its name, some of them notes by staff; the names are in capitals.
-- What is derived here depends on nothing but its arguments, so that a second
-- import finds the same products again.
--
local catalogue = {}


-- First match wins; the words stand as they do in the names. The handle also
-- names the picture in web/static/pictures/.
local CATEGORIES = {
  { "christmas", "Christmas", { "CHRISTMAS", "XMAS", "ADVENT", "SANTA", "REINDEER", "SNOWFLAKE" } },
  { "lights", "Lights & candles", { "T-LIGHT", "LIGHT", "LIGHTS", "CANDLE", "CANDLES", "LANTERN",
    "LAMP", "CANDLEHOLDER", "INCENSE" } },
  { "bags", "Bags & purses", { "BAG", "BAGS", "PURSE", "SHOPPER", "SUITCASE", "WALLET" } },
  { "jewellery", "Jewellery", { "NECKLACE", "EARRINGS", "BRACELET", "RING", "BROOCH", "NECKLACES",
    "EARRING", "HAIRCLIP", "HAIR", "PENDANT", "NECKL" } },
  { "clocks", "Clocks", { "CLOCK", "ALARM", "WATCH" } },
  { "tea", "Tea & coffee", { "MUG", "MUGS", "TEACUP", "TEAPOT", "TEA", "COFFEE", "CUP", "CUPS",
    "SAUCER" } },
  { "kitchen", "Kitchen & table", { "CAKE", "CAKES", "BOWL", "PLATE", "PLATES", "SPOON", "JAM",
    "BAKING", "KITCHEN", "TRAY", "JUG", "BOTTLE", "CUTLERY", "LUNCH", "SNACK", "NAPKINS",
    "RECIPE", "JAR", "EGG", "CAKESTAND", "CASES", "FORK", "APRON", "PANTRY", "COLANDER" } },
  { "party", "Party", { "PARTY", "BUNTING", "BALLOONS", "BIRTHDAY", "GARLAND", "STREAMER" } },
  { "paper", "Cards & paper", { "CARD", "CARDS", "WRAP", "PAPER", "NOTEBOOK", "STICKERS", "BOOK",
    "RIBBON", "RIBBONS", "TISSUE", "TISSUES", "PENCIL", "PENCILS", "PEN", "TAGS", "ENVELOPES",
    "JOURNAL", "CALENDAR", "CHALK" } },
  { "garden", "Garden", { "GARDEN", "PLANT", "FLOWER", "FLOWERS", "BIRD", "WATERING", "HERB",
    "SEEDS", "PARASOL", "POT", "GARDENERS" } },
  { "children", "Children", { "CHILDREN", "CHILDRENS", "CHILDS", "TOY", "TOYS", "DOLL", "DOLLY",
    "GAME", "SKITTLES", "DINOSAUR", "SPACEBOY", "GIRL", "BOYS", "GIRLS", "PUPPET", "SOLDIER",
    "SKIPPING", "JIGSAW", "SPINNING", "BABY", "CIRCUS" } },
  { "textiles", "Textiles & warmth", { "CUSHION", "TOWEL", "BLANKET", "QUILT", "WARMER", "RUG",
    "THROW", "SCARF", "GLOVES", "CURTAIN", "DOORMAT", "SLIPPERS", "WATER", "FLANNEL" } },
  { "storage", "Boxes & storage", { "BOX", "BOXES", "TIN", "TINS", "BASKET", "DRAWER", "CABINET",
    "STORAGE", "HOLDER", "RACK", "HANGER", "HOOK", "HOOKS", "CHEST", "TRINKET" } },
  { "signs", "Signs & frames", { "SIGN", "FRAME", "FRAMES", "METAL", "PICTURE", "MIRROR", "DOOR",
    "WALL", "BLACKBOARD", "POSTER", "PHOTO", "CLIPS", "BOARD", "MAGNETS", "MAGNET" } },
  { "hearts", "Hearts & ornaments", { "HEART", "HEARTS", "ORNAMENT", "DECORATION", "ANGEL", "STAR",
    "BELL", "FAIRY", "DOVE", "BUTTERFLY", "HANGING", "DECORATIONS" } },
}

local OTHER = { "curiosities", "Curiosities", {} }

local COLOURS = { "RED", "BLUE", "GREEN", "PINK", "WHITE", "BLACK", "IVORY", "CREAM", "PURPLE",
  "YELLOW", "ORANGE", "BROWN", "GREY", "GOLD", "SILVER", "TURQUOISE", "AMBER", "AQUA", "LILAC" }

local WORD_TO_CATEGORY, IS_COLOUR = {}, {}

for rank, category in ipairs(CATEGORIES) do
  for _, word in ipairs(category[3]) do
    WORD_TO_CATEGORY[word] = WORD_TO_CATEGORY[word] or rank
  end
end
for _, colour in ipairs(COLOURS) do
  IS_COLOUR[colour] = true
end


--- Is a stock code one of goods? Postage, fees, vouchers and notes are not.
function catalogue.is_goods(code)
  return code:find("^%d%d%d%d%d%u*$") ~= nil or code:find("^DCGS%w+$") ~= nil
end


--- Is a description a name? Names are in capitals, notes by staff ("damaged", "?") are not.
function catalogue.is_name(text)
  local _, upper = text:gsub("%u", "")
  local _, lower = text:gsub("%l", "")
  return upper >= 4 and upper >= 2 * lower
end


local function title_word(word)
  return (word:lower():gsub("^(%W*)(%l)", function(before, first) return before ..
    first:upper() end)
    :gsub("%-(%l)", function(first) return "-" .. first:upper() end))
end


--- "WHITE HANGING HEART T-LIGHT HOLDER" → "White Hanging Heart T-Light Holder".
function catalogue.title(name)
  local words = {}
  for word in name:gmatch("%S+") do
    words[#words + 1] = title_word(word)
  end
  return table.concat(words, " ")
end


-- A handle takes 191 bytes and ends with the code, of at most 64, which makes it one of a kind.
local MOST_OF_NAME = 120


--- A handle for the address line: lower case letters, digits and single hyphens.
function catalogue.handle(name, code)
  local slug = (name:sub(1, MOST_OF_NAME) .. " " .. code):lower():gsub("[^%w]+", "-")
  -- linear: no two hyphens stand side by side any more
  slug = slug:gsub("^%-+", ""):gsub("%-+$", "")
  return slug
end


--- The category of a name: `{handle, title, position}`.
function catalogue.category(name)
  local best
  for word in name:gmatch("[%u%-]+") do
    local rank = WORD_TO_CATEGORY[word]
    if rank and (not best or rank < best) then
      best = rank
    end
  end
  local category = CATEGORIES[best] or OTHER
  return { handle = category[1], title = category[2], position = best or #CATEGORIES + 1 }
end


--- All categories, in the order in which the shop shows them.
function catalogue.categories()
  local list = {}
  for i, category in ipairs(CATEGORIES) do
    list[i] = { handle = category[1], title = category[2], position = i }
  end
  list[#list + 1] = { handle = OTHER[1], title = OTHER[2], position = #list + 1 }
  return list
end


--- Splits off a colour: "PINK CUPID HANGER" → "CUPID HANGER", "Pink"; nil where there is not
-- exactly one.
function catalogue.colour(name)
  local rest, colour = {}, nil
  for word in name:gmatch("%S+") do
    if IS_COLOUR[word] then
      if colour then
        return nil
      end
      colour = title_word(word)
    else
      rest[#rest + 1] = word
    end
  end
  if not colour or #rest == 0 then
    return nil
  end
  return table.concat(rest, " "), colour
end


return catalogue
