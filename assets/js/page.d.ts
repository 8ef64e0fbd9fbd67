// Types shared by the page's scripts. They exist for the type checker only.

/** An event whose target is handled as any element: listeners are delegated from the document. */
type On<E extends Event> = Omit<E, "target"> & { readonly target: any };

/** An element of the page, of a kind that its selector says. */
type AnyElement = any;

interface ComfyKit {
  $(selector: string, root?: ParentNode): AnyElement;
  $$(selector: string, root?: ParentNode): AnyElement[];
  make(tag: string, properties?: Record<string, unknown>, ...children: unknown[]): AnyElement;
  /** Make `old` like `replacement` without replacing the nodes that are the same. */
  morph(old: Element, replacement: AnyElement): void;
  /** Draw HTML from the server into a block, changing only what is different. */
  draw(element: AnyElement, html: string): void;
  /** Tell all scripts that a block was drawn. */
  announce(element: AnyElement): void;
  setField(name: string, value: string): void;
  smooth(): ScrollBehavior;
  dialog(id: string, label: string, ...children: unknown[]): AnyElement;
  toast(text: string, action?: string, then?: () => void): void;
  /** POST as JSON; the answer, or { error } for the form that shows it. */
  ask(path: string, data: unknown): Promise<any>;
  /** POST as JSON; null after an error, which a toast has shown. */
  post(path: string, data: unknown, pausesMs?: number[]): Promise<any>;
  /** POST what the server recognizes by a key when it arrives twice. */
  insist(path: string, data: unknown): Promise<any>;
  named(): string;
  recall(data: Record<string, unknown>): void;
  toCreate(): void;
  flash(button: HTMLElement, text: string): void;
  typing(target: unknown): boolean;
  load(key: string, fallback: any): any;
  save(key: string, value: unknown): void;
  saveDraft(): void;
  remember(prompt: string): void;
  /** Replace the prompt and keep the one before in the history. */
  setPrompt(text: string): void;
  dialogOpen(): HTMLDialogElement | null;
}

/** What the server says about a model file. */
interface ModelFile {
  name: string;
  title: string;
  family: string;
  base: string;
  words: string[];
  weight: number | null;
  size: number | null;
  favorite: boolean;
}

interface BrowseOptions {
  title: string;
  /** The folder below models/. */
  folder: string;
  /** The preset's model family, empty if unknown: its files come first, those of others are hidden at first. */
  family: string;
  /** The names of the chosen files. */
  chosen(): string[];
  pick(one: ModelFile): void;
  /** Close the dialog after the first choice. */
  single?: boolean;
  closed(): void;
}

interface GridAxis {
  name: string;
  values: string;
}

/** `window.comfy`: what the scripts offer each other, Gradio's event handlers and the tests. */
interface ComfyPage {
  /** A video with a strip of its frames below, to move along. */
  withStrip(item: string, video: AnyElement): AnyElement;
  /** A 3D model that turns. */
  turntable(item: string, title: string): AnyElement;
  /** A player of a sound with its waveform. */
  soundPlayer(item: string, title: string): AnyElement;
  kit: ComfyKit;
  actions: Record<string, (button: AnyElement, event?: any) => unknown>;
  island(element: AnyElement, trigger: (event: string, data: unknown) => void, watch: (name: string, then: () => void) => void, names?: string[]): void;
  onIsland(callback: (element: AnyElement) => void): void;
  /** Updates of Gradio's components from a route, for the outputs of an event. */
  updates(path: string, data: unknown): Promise<unknown[]>;
  openForm(): Promise<unknown[]>;
  current(): string;
  shownJob(): string;
  translate(root: Node): void;
  translated(english: string): string;
  language: string;
  missed: Set<string>;
  edit(job: string | null): void;
  press(options?: { first?: boolean }): void;
  /** Send the form again, from whichever tab is open; gives the id of the job. */
  repeat(): Promise<string | undefined>;
  request(): Record<string, any>;
  /** Show a notice above the buttons; an empty text removes it. */
  notice(html: string): void;
  /** Outline the LoRA that an error is about: its chip, or the prompt that names it. An empty name outlines nothing. */
  outlineLora(name: string): void;
  /** Show on the stage what a press of Generate has queued. */
  queued(answer: { job: string, shown: string }): void;
  /** On a phone, show the inputs or the results of Create. */
  showPlace(place: "inputs" | "results"): void;
  /** Draw the stage and the results as they are now. */
  refreshStage(request?: { ended?: string, item?: string, openedItem?: string }): Promise<void>;
  /** Enlarge a result on the stage. */
  showResult(thumb: AnyElement): void;
  /** Load the user's favorites, recent presets, and whether the form's preset has their defaults. */
  ownPresets(): Promise<{ favorites: string[], recent: string[], defaults: boolean }>;
  /** Estimate again, soon, what a press of Generate would take. */
  estimate(): void;
  series(): Record<string, unknown>;
  grid(): { grid?: GridAxis[] };
  /** Open a result on the stage or, outside of Create, in the viewer. */
  open(thumb: AnyElement): void;
  view(thumb: AnyElement): void;
  /** Let people zoom and pan the images of an element (zoom.js). */
  zoomable(box: AnyElement, options?: { drags?: (event: PointerEvent) => boolean, swiped?: (by: number) => void, clicks?: boolean }): { zoomBy(factor: number): void, toggle(): void, reset(): void };
  compare(a: AnyElement, b: AnyElement): void;
  star(thumbs: AnyElement[], on: boolean): Promise<void>;
  drop(thumbs: AnyElement[]): Promise<void>;
  keys(event: On<KeyboardEvent>, thumb: AnyElement): boolean;
  those(thumbs: AnyElement[]): { ids: number[]; groups: string[] };
  starred(thumb: AnyElement): boolean;
  /** The thumbnail of the result in the viewer. */
  shownThumb(): AnyElement;
  /** Rate results with stars; 0 for none (labels.js). */
  rate(thumbs: AnyElement[], rating: number): Promise<void>;
  /** Load the user's tags and collections. */
  loadLabels(): Promise<void>;
  /** Show the button that renames the collection of the search (labels.js). */
  chosenShown(): void;
  /** The import of a folder (folder_import.js). */
  folderImport: { look(): Promise<void> };
  /** Saved searches (saved_searches.js). */
  searchesMarked(): void;
  loadSearches(): Promise<void>;
  library?: { changed(): void; nearEnd(thumb: AnyElement): void; [name: string]: any };
  workflows: {
    sendFile(path: string, file: Blob & { name?: string }, query?: Record<string, any>): Promise<any>;
    openWorkflow(file: File): Promise<void>;
    refreshReport(id: string): Promise<any>;
    showNeeds(id: string): Promise<void>;
    toReport(): void;
    show(html: string): void;
    getJson(path: string): Promise<any>;
    toWorkflows(): void;
  };
  browseModels(options: BrowseOptions): void;
  models: {
    ask(folder: string): void;
    /** The files of a folder; null before the server was asked. */
    modelList(folder: string): ModelFile[] | null;
    modelPicture(folder: string, title: string, name?: string): AnyElement;
    modelTitle(one: { name: string, title: string }): string;
    onList(listener: (folder: string) => void): void;
    shortName(name: string): string;
  };
  /** The text fields with the syntax of prompts (prompt_marks.js). */
  prompts: {
    is(element: unknown): boolean;
    /** Where a character of the field is on the screen. */
    place(field: AnyElement, at: number): DOMRect;
  };
  /** Put a style's text around the prompt. */
  addStyle(name: string): Promise<void>;
  sees(): boolean;
  describe(file: Blob): Promise<void>;
  wishes(again?: boolean): string;
}

interface TextTools {
  countTokens(text: string, encoder: string): number;
  mergeStyle(prompt: string, style: { before: string; after: string }): [string, string, string];
  mergeStyles(words: string, styles: { before: string; after: string }[]): { before: string; words: string; after: string };
  findStyles<T extends { before: string; after: string; negative?: string }>(prompt: string, negative: string, styles: T[]): T[];
  withoutStyle(prompt: string, style: { before: string; after: string }): string;
  swapNegative(negative: string, removed: string, added: string): string;
  changeWeight(value: string, start: number, end: number, step: number): { text: string; start: number; end: number } | null;
  promptParts(text: string): { kind: string; text: string }[];
  termAt(text: string, cursor: number): { kind: string; query: string; start: number } | null;
  quoteEntry(value: string): string;
  splitEntries(text: string): string[];
  gridTotal(columns: number, rows: number, results: number): string;
}

/** A step of a drawing on the canvas; `points` are x, y, x, y … in pixels of the image. */
interface CanvasOp {
  kind: string;
  layer: string;
  color: string;
  size?: number;
  points?: number[];
  /** The outlines of an area and of its holes. */
  loops?: number[][];
  /** The part of `size` at each point, from a pen's pressure. */
  widths?: number[];
}
interface CanvasDrawing {
  ops: CanvasOp[];
  feather: number;
  readonly canUndo: boolean;
  readonly canRedo: boolean;
  add(op: CanvasOp): void;
  undo(): void;
  redo(): void;
  has(layer: string): boolean;
  touches(layer: string): boolean;
  text(base: string): string;
}
interface DrawingTools {
  Drawing: new (start?: { ops?: CanvasOp[]; feather?: number }) => CanvasDrawing;
  read(data: unknown): { base: string; drawing: CanvasDrawing } | null;
  extend(op: CanvasOp, x: number, y: number, at: { scale: number; width?: number }): void;
  draw(pen: unknown, op: CanvasOp, image: { width: number; height: number; ink: string }, from?: number): void;
  outlines(image: { data: ArrayLike<number>; width: number; height: number }, scale?: number): number[][];
  snap(pixels: number, most: number): number;
  frameOf(ratio: number, image: { width: number; height: number }, most: number): Record<string, number>;
  STEP: number;
}

interface Catalog {
  readonly isEmpty: boolean;
  readonly missed: Set<string>;
  load(entries: Record<string, string>): void;
  translate(text: string): string;
}

interface Window {
  comfy: ComfyPage;
}
declare var comfyText: TextTools;
declare var comfyDrawing: DrawingTools;
declare var ComfyCatalog: new () => Catalog;
